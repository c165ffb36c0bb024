//! Servers with names: a DNS server on loopback whose answers change.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::{
        op::{Message, MessageType, ResponseCode},
        rr::{RData, Record, RecordType},
        serialize::binary::{BinDecodable, BinEncodable},
    },
};
use tokio::{net::UdpSocket, runtime::Handle, time::sleep};

use super::{name, payer};
use crate::{
    resources::{Backend, Server},
    upstream::{
        Resolution, UpstreamError, Upstreams,
        resolve::{Names, configure},
    },
};

/// What the server says of every name: addresses, or that it has failed.
type Said = Arc<Mutex<Option<Vec<Ipv4Addr>>>>;

/// A DNS server, and a resolver that asks it.
async fn dns(said: Said) -> Names {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut bytes = [0; 1500];
        loop {
            let (length, from) = socket.recv_from(&mut bytes).await.unwrap();
            let asked = Message::from_bytes(&bytes[..length]).unwrap();
            let answer = answer(&asked, said.lock().unwrap().as_deref());
            socket.send_to(&answer.to_bytes().unwrap(), from).await.unwrap();
        }
    });
    let mut connection = ConnectionConfig::udp();
    connection.port = address.port();
    let server = NameServerConfig::new(address.ip(), true, vec![connection]);
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    configure(builder.options_mut());
    Names {
        resolver: builder.build().unwrap(),
        reserved: Arc::default(),
    }
}

fn answer(asked: &Message, said: Option<&[Ipv4Addr]>) -> Message {
    let mut answer = asked.clone();
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.recursion_available = true;
    let query = asked.queries[0].clone();
    match said {
        None => answer.metadata.response_code = ResponseCode::ServFail,
        Some(addresses) if query.query_type() == RecordType::A => {
            let record = |ip: &Ipv4Addr| Record::from_rdata(query.name().clone(), 0, RData::A((*ip).into()));
            answer.answers = addresses.iter().map(record).collect();
        }
        Some(_) => {}
    }
    answer
}

fn on_host() -> Server {
    Server {
        backend: Backend::Host {
            name: "calc.example".into(),
            port: 8443,
            h2c: false,
        },
        ..Server::at(name(), vec![])
    }
}

async fn until(upstreams: &Upstreams, server: &Server, wanted: impl Fn(&Resolution) -> bool) -> Resolution {
    for _ in 0..1_500 {
        let known = upstreams.resolution(server).unwrap();
        if wanted(&known) {
            return known;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {:?}", upstreams.resolution(server));
}

fn at(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 9, 9, last], 8443))
}

#[tokio::test]
async fn a_host_is_where_dns_says_and_where_it_was_when_dns_says_nothing() {
    let ip = |last: u8| Ipv4Addr::new(10, 9, 9, last);
    let said = Said::new(Mutex::new(Some(vec![ip(2), ip(1)])));
    let upstreams = Upstreams::resolving_by(Some(dns(Arc::clone(&said)).await), Handle::current());
    let server = on_host();
    let mut hosts = upstreams.hosts();
    upstreams.put_in_force(&[Arc::new(server.clone())]);
    let upstream = upstreams.get(&name()).unwrap();
    assert!(matches!(upstream.pick(payer()), Err(UpstreamError::NoAddress)));

    let found = until(&upstreams, &server, |known| !known.addresses.is_empty()).await;
    assert_eq!((found.addresses, found.error), (vec![at(1), at(2)], None));
    let kept = upstream.endpoint(at(2)).unwrap();
    let key = ("calc.example".into(), 8443);
    assert_eq!(hosts.borrow_and_update()[&key], [at(1), at(2)]);

    // An address that goes takes its connections with it; the other stays what it was.
    *said.lock().unwrap() = Some(vec![ip(2), ip(3)]);
    until(&upstreams, &server, |known| known.addresses == [at(2), at(3)]).await;
    assert!(matches!(upstream.endpoint(at(1)), Err(UpstreamError::Gone)));
    assert!(upstream.endpoint(at(2)).unwrap().is(&kept));

    *said.lock().unwrap() = None;
    let failed = until(&upstreams, &server, |known| known.error.is_some()).await;
    assert_eq!(failed.addresses, [at(2), at(3)], "the last good ones");
    assert!(failed.error.unwrap().starts_with("DNS: "));

    // A name whose owner points it at us, or at a cloud's own services, leads nowhere.
    *said.lock().unwrap() = Some(vec![Ipv4Addr::LOCALHOST, Ipv4Addr::new(169, 254, 169, 254)]);
    let refused = until(&upstreams, &server, |known| known.addresses.is_empty()).await;
    assert!(
        refused
            .error
            .unwrap()
            .starts_with("AddressNotAllowed: calc.example is ")
    );
    assert!(matches!(upstream.pick(payer()), Err(UpstreamError::NoAddress)));

    upstreams.put_in_force(&[]);
    assert!(hosts.borrow_and_update().is_empty());
    assert_eq!(upstreams.resolution(&server), None);
}

#[tokio::test]
async fn a_server_of_the_same_host_that_changes_keeps_what_is_known() {
    let said = Said::new(Mutex::new(Some(vec![Ipv4Addr::new(10, 9, 9, 1)])));
    let upstreams = Upstreams::resolving_by(Some(dns(said).await), Handle::current());
    let mut server = on_host();
    upstreams.put_in_force(&[Arc::new(server.clone())]);
    until(&upstreams, &server, |known| !known.addresses.is_empty()).await;
    server.path = "/other".into();
    upstreams.put_in_force(&[Arc::new(server)]);
    assert_eq!(
        upstreams.get(&name()).unwrap().pick(payer()).unwrap().address().ip(),
        IpAddr::from([10, 9, 9, 1])
    );
}

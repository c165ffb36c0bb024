//! TLS from clients: at the gateway, and on the way to a server.

use std::{path::PathBuf, sync::Arc};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Answer, Proxied, call, desired, gateway, http2, post,
    session_server::SessionServer,
    upstreams::{Scripted, Upstream},
};
use crate::{
    policy::Plan,
    proxy::Tls,
    resources::{
        Action, Backend, Capture, Certificate, ClientTls, Desired, Enforcement, HostAddresses, OnFailure, Pattern,
        Policy, Rule, Server,
    },
};

pub(super) const NAME: &str = "calc.tools.svc";
/// What is behind the same address, or is said to be.
pub(super) const OTHER_NAME: &str = "other.example";

/// A certificate in files, and a client that trusts it.
pub(super) struct Files {
    pub(super) files: Certificate,
    directory: tempfile::TempDir,
}

impl Files {
    pub(super) fn new() -> (Self, TlsConnector) {
        let directory = tempfile::tempdir().unwrap();
        let files = Self {
            files: Certificate {
                certificate: directory.path().join("tls.crt"),
                key: directory.path().join("tls.key"),
            },
            directory,
        };
        let connector = files.renew();
        (files, connector)
    }

    /// Another certificate in the same files.
    fn renew(&self) -> TlsConnector {
        let names = [NAME, OTHER_NAME].map(str::to_owned);
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let put = |path: &PathBuf, text: String| {
            let new = self.directory.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, path).unwrap();
        };
        put(&self.files.certificate, cert.pem());
        put(&self.files.key, signing_key.serialize_pem());
        connector(cert.der().clone(), &[])
    }
}

fn connector(certificate: CertificateDer<'static>, protocols: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

pub(super) async fn secure(proxied: &Proxied, connector: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    secure_as(NAME, proxied, connector).await
}

pub(super) async fn secure_as(
    name: &'static str,
    proxied: &Proxied,
    connector: &TlsConnector,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name).unwrap();
    connector.connect(name, proxied.connect().await).await
}

async fn exchange(mut stream: TlsStream<TcpStream>, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    Answer::of(&answer)
}

/// The gateway with one server, over TLS.
async fn secured_gateway() -> (Proxied, Files, TlsConnector, SessionServer) {
    let (files, connector) = Files::new();
    let server = SessionServer::start().await;
    let proxied = gateway::start(gateway::desired(&[server.address])).await;
    proxied.shared.tls.begin(Some(&files.files)).unwrap();
    (proxied, files, connector, server)
}

const LIST: &str = r#"{"jsonrpc":"2.0","method":"tools/list","id":1}"#;

#[tokio::test]
async fn the_gateway_is_spoken_to_over_tls_in_both_versions_of_http() {
    let (proxied, files, connector, _server) = secured_gateway().await;
    let answer = exchange(secure(&proxied, &connector).await.unwrap(), &post("", LIST)).await;
    assert_eq!(answer.body["result"]["tools"][0]["name"], "a_add");
    let pem = std::fs::read(&files.files.certificate).unwrap();
    let certificate = rustls::pki_types::pem::PemObject::from_pem_slice(&pem).unwrap();
    let both = self::connector(certificate, &[b"h2", b"http/1.1"]);
    let stream = secure(&proxied, &both).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = http2::client(stream).await;
    let (_, answer) = http2::json(client.send_request(http2::post(LIST)).await.unwrap()).await;
    assert_eq!(answer["result"]["tools"][0]["name"], "a_add");
}

#[tokio::test]
async fn plain_http_is_told_that_tls_is_spoken_there() {
    let (proxied, ..) = secured_gateway().await;
    let answer = proxied.exchange(post("", LIST)).await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.ends_with("begin with https://\n"),
        "{answer}"
    );
    let line = proxied.finish().await.pop().unwrap();
    assert_eq!(
        (&line["reason"], &line["path"]),
        (&"plain_http".into(), &"gateway".into())
    );
}

#[tokio::test]
async fn the_gateway_goes_on_with_a_certificate_in_other_files_and_with_none() {
    let (proxied, _files, first, _server) = secured_gateway().await;
    let tls = &proxied.shared.tls;
    let error = || tls.get().unwrap().error();
    // One that is open stays as it is.
    let open = secure(&proxied, &first).await.unwrap();
    let (other, second) = Files::new();
    tls.put_in_force(Some(&other.files));
    assert!(secure(&proxied, &first).await.is_err() && secure(&proxied, &second).await.is_ok());
    let answer = exchange(open, &post("", LIST)).await;
    assert_eq!(answer.body["result"]["tools"][0]["name"], "a_add");

    // Files that are not there yet: the last good one stays until they are.
    let (late, third) = Files::new();
    let key = std::fs::read(&late.files.key).unwrap();
    std::fs::remove_file(&late.files.key).unwrap();
    tls.put_in_force(Some(&late.files));
    assert!(secure(&proxied, &second).await.is_ok());
    assert!(error().unwrap().contains("cannot read"), "{:?}", error());
    std::fs::write(&late.files.key, key).unwrap();
    assert!(secure(&proxied, &third).await.is_ok() && secure(&proxied, &second).await.is_err());
    assert_eq!(error(), None);

    tls.put_in_force(None);
    assert!(secure(&proxied, &third).await.is_err());
    let plain = Answer::of(&proxied.exchange(post("", LIST)).await);
    assert_eq!(plain.body["result"]["tools"][0]["name"], "a_add");

    // Where TLS is asked for and there is no certificate yet, nobody is served by plain HTTP meanwhile.
    let key = std::fs::read(&late.files.key).unwrap();
    std::fs::remove_file(&late.files.key).unwrap();
    tls.put_in_force(Some(&late.files));
    assert!(secure(&proxied, &third).await.is_err());
    let answer = proxied.exchange(post("", LIST)).await;
    assert!(answer.ends_with("begin with https://\n"), "{answer}");
    std::fs::write(&late.files.key, key).unwrap();
    assert!(secure(&proxied, &third).await.is_ok());
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_and_a_bad_one_is_not() {
    let (proxied, files, first, _server) = secured_gateway().await;
    let tls = proxied.shared.tls.get().unwrap();
    let second = files.renew();
    assert!(
        secure(&proxied, &first).await.is_err(),
        "the first is no longer in force"
    );
    assert!(secure(&proxied, &second).await.is_ok());
    assert_eq!(tls.error(), None);
    std::fs::write(&files.files.key, "garbage").unwrap();
    assert!(secure(&proxied, &second).await.is_ok(), "the last good one stays");
    assert!(tls.error().unwrap().contains("no private key"), "{:?}", tls.error());
    let third = files.renew();
    assert!(secure(&proxied, &third).await.is_ok());
    assert_eq!(tls.error(), None);
}

/// One server, with this for TLS of its clients.
pub(super) fn with(address: std::net::SocketAddr, client_tls: ClientTls) -> Desired {
    let mut desired = desired(address);
    Arc::make_mut(&mut desired.servers[0]).client_tls = client_tls;
    desired
}

#[tokio::test]
async fn tls_to_a_server_ends_here_with_its_certificate_and_its_calls_are_governed() {
    let (files, connector) = Files::new();
    let upstream = Upstream::start().await;
    let desired = with(upstream.address, ClientTls::Terminate(files.files.clone()));
    let proxied = Proxied::start_with(desired, Some(upstream.address)).await;
    let ask = async |tool: &str| {
        let stream = secure(&proxied, &connector).await.unwrap();
        exchange(stream, &post("", &call(tool))).await
    };
    assert!(ask("add").await.body["result"].is_object());
    assert_eq!(ask("big").await.code(), Some(-32602));
    assert!(
        proxied.call("add").await.body["result"].is_object(),
        "plain HTTP is what it was"
    );
    assert_eq!(upstream.requests(), 2);
}

#[tokio::test]
async fn without_its_certificate_tls_to_a_server_is_refused() {
    let (files, connector) = Files::new();
    std::fs::remove_file(&files.files.key).unwrap();
    let upstream = Upstream::start().await;
    for (tls, reason) in [
        (ClientTls::Terminate(files.files.clone()), "no_certificate"),
        (ClientTls::Refuse, "tls"),
    ] {
        let proxied = Proxied::start_with(with(upstream.address, tls), Some(upstream.address)).await;
        assert!(secure(&proxied, &connector).await.is_err());
        assert_eq!(proxied.finish().await[0]["reason"], reason);
    }
}

/// A server that answers TLS itself, and what a caller under these rules gets of it through the proxy.
async fn through(rules: Vec<Rule>) -> (std::io::Result<String>, Vec<serde_json::Value>) {
    through_with(|desired| Arc::make_mut(&mut desired.policies[0]).rules = rules).await
}

async fn through_with(change: impl FnOnce(&mut Desired)) -> (std::io::Result<String>, Vec<serde_json::Value>) {
    let (files, connector) = Files::new();
    let tls = Tls::open(&files.files).unwrap();
    let (scripted, address) = Scripted::start().await;
    let mut desired = with(address, ClientTls::Passthrough);
    change(&mut desired);
    let proxied = Proxied::start_with(desired, Some(address)).await;
    let server = async {
        let mut stream = tls.accept(scripted.connection().await).await?;
        let mut asked = [0; 5];
        stream.read_exact(&mut asked).await?;
        stream.write_all(b"secret").await?;
        stream.shutdown().await
    };
    let client = async {
        let mut stream = secure(&proxied, &connector).await?;
        stream.write_all(b"hello").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    let answered = tokio::select! {
        answered = client => answered,
        _ = async { server.await.unwrap(); std::future::pending::<()>().await } => unreachable!(),
    };
    // All but the accepting has come to its end.
    while proxied.tasks.len() > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    (answered, proxied.finish().await)
}

pub(super) fn rule(action: Action, tool: Option<&str>, namespace: &str) -> Rule {
    let mut rule = Rule {
        tools: tool.map(|tool| Pattern::new(tool).unwrap()).into_iter().collect(),
        ..Rule::new(action)
    };
    rule.from = vec![crate::resources::Caller {
        namespaces: vec![namespace.into()],
        ..Default::default()
    }];
    rule
}

#[tokio::test]
async fn tls_goes_through_unread_for_whom_everything_is_allowed_and_is_recorded_as_a_connection() {
    let (answer, lines) = through(vec![rule(Action::Allow, None, "agents")]).await;
    assert_eq!(answer.unwrap(), "secret");
    let line = &lines[0];
    assert_eq!(
        (&line["method"], &line["decision"], &line["outcome"]),
        (&"tls/passthrough".into(), &"allow".into(), &"ok".into())
    );
    assert_eq!(line["rule"], "tools/restrict#1");
    assert!(
        line["requestBytes"].as_u64().unwrap() > 5 && line["responseBytes"].as_u64().unwrap() > 6,
        "{line}"
    );
}

#[tokio::test]
async fn tls_goes_through_for_nobody_to_whom_something_is_denied() {
    use Action::{Allow, Deny};
    for (rules, why) in [
        (vec![rule(Allow, Some("*"), "agents")], "default-deny"),
        (vec![rule(Allow, None, "others")], "default-deny"),
        (
            vec![rule(Allow, None, "agents"), rule(Deny, Some("big"), "agents")],
            "tools/restrict#2",
        ),
    ] {
        let (answer, lines) = through(rules).await;
        assert!(answer.is_err());
        assert_eq!(
            (&lines[0]["decision"], &lines[0]["rule"]),
            (&"deny".into(), &why.into())
        );
    }
    let rules = vec![rule(Allow, None, "agents"), rule(Deny, Some("big"), "others")];
    assert_eq!(
        through(rules).await.0.unwrap(),
        "secret",
        "what others may not does not matter"
    );
}

#[tokio::test]
async fn tls_goes_through_for_nobody_where_limits_or_an_engine_must_see_each_call() {
    let limited = |enforcement| {
        move |desired: &mut Desired| {
            let policy = Arc::make_mut(&mut desired.policies[0]);
            policy.rules = vec![];
            policy.enforcement = enforcement;
            policy.limits = vec![super::limits::an_hour(1_000)];
        }
    };
    let engine = |on_failure| {
        move |desired: &mut Desired| {
            desired.policies.clear();
            desired.settings.ext_authz = Some(super::engines::ext_authz("127.0.0.1:1".parse().unwrap(), on_failure));
        }
    };
    let refused = |(answer, lines): (std::io::Result<String>, Vec<serde_json::Value>)| {
        assert!(answer.is_err());
        lines[0]["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        refused(through_with(limited(Enforcement::Enforce)).await),
        "tls_limited"
    );
    // Failing open is for an engine that is silent, and not for callers who keep it from being asked.
    for on_failure in [OnFailure::Closed, OnFailure::Open] {
        assert_eq!(refused(through_with(engine(on_failure)).await), "tls_needs_engine");
    }
    let tried = through_with(limited(Enforcement::DryRun)).await;
    assert_eq!(tried.0.unwrap(), "secret", "what is only tried changes nothing");
}

/// Servers of these hosts, all of them behind one address, with this for TLS of their clients.
pub(super) async fn behind_one_address(
    address: std::net::SocketAddr,
    hosts: &[(&str, ClientTls)],
    rules: impl Fn(&str) -> Vec<Rule>,
) -> Proxied {
    let mut desired = desired(address);
    let server = |(host, client_tls): &(&str, ClientTls)| Server {
        backend: Backend::Host {
            name: (*host).into(),
            port: address.port(),
            h2c: false,
        },
        client_tls: client_tls.clone(),
        capture: Capture::Redirect,
        passes_other_names: false,
        ..Server::at(super::name(host, "calc"), vec![])
    };
    desired.servers = hosts.iter().map(server).map(Arc::new).collect();
    let policy = |(host, _): &(&str, ClientTls)| Policy {
        name: super::name(host, "restrict"),
        rules: rules(host),
        ..Policy::default()
    };
    desired.policies = hosts.iter().map(policy).map(Arc::new).collect();
    let proxied = Proxied::start_with(desired.clone(), Some(address)).await;
    let place = |(host, _): &(&str, ClientTls)| (((*host).into(), address.port()), vec![address]);
    let found: HostAddresses = hosts.iter().map(place).collect();
    proxied.plan.store(Arc::new(Plan::compile(&desired).with_hosts(&found)));
    proxied
}

#[tokio::test]
async fn where_other_names_are_refused_none_takes_a_caller_round_the_rules_of_the_one_host_at_an_address() {
    let denies = |_: &str| vec![rule(Action::Allow, Some("add"), "agents")];
    let (files, connector) = Files::new();
    let upstream = Upstream::start().await;
    for (client_tls, reason) in [(ClientTls::Refuse, "tls"), (ClientTls::Passthrough, "")] {
        let proxied = behind_one_address(upstream.address, &[(NAME, client_tls)], denies).await;
        assert!(secure_as(OTHER_NAME, &proxied, &connector).await.is_err());
        let lines = proxied.finish().await;
        match reason {
            "" => assert_eq!(lines[0]["decision"], "deny", "{lines:?}"),
            reason => assert_eq!(lines[0]["reason"], reason, "{lines:?}"),
        }
    }
    let terminated = ClientTls::Terminate(files.files.clone());
    let proxied = behind_one_address(upstream.address, &[(NAME, terminated)], denies).await;
    let stream = secure_as(OTHER_NAME, &proxied, &connector).await.unwrap();
    let answer = exchange(stream, &post("", &call("big"))).await;
    assert!(answer.code().is_some(), "it is read here: {answer:?}");
    assert_eq!(upstream.connections.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn of_several_hosts_at_one_address_tls_names_one_of_ours() {
    let (_files, connector) = Files::new();
    let upstream = Upstream::start().await;
    let hosts = [(NAME, ClientTls::Passthrough), ("b.example", ClientTls::Passthrough)];
    let proxied = behind_one_address(upstream.address, &hosts, |_| vec![]).await;
    assert!(secure_as(OTHER_NAME, &proxied, &connector).await.is_err());
    let lines = proxied.finish().await;
    assert_eq!(lines[0]["reason"], "tls_other_name", "{lines:?}");
    assert_eq!(upstream.connections.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_goes_through_unread_is_allowed_by_every_server_at_its_address() {
    let (_files, connector) = Files::new();
    let upstream = Upstream::start().await;
    let hosts = [(NAME, ClientTls::Passthrough), (OTHER_NAME, ClientTls::Passthrough)];
    // What is named is free to all; what is meant is not.
    let denies = |host: &str| match host {
        OTHER_NAME => vec![],
        _ => vec![rule(Action::Deny, Some("big"), "agents")],
    };
    let proxied = behind_one_address(upstream.address, &hosts, denies).await;
    assert!(secure_as(OTHER_NAME, &proxied, &connector).await.is_err());
    let line = proxied.finish().await.remove(0);
    assert_eq!(
        (&line["decision"], &line["rule"], &line["server"]),
        (
            &"deny".into(),
            &format!("{NAME}/restrict#1").into(),
            &format!("{NAME}/calc").into()
        )
    );
    assert_eq!(upstream.connections.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn another_name_passes_unread_to_what_else_is_behind_the_address_and_is_recorded() {
    let (files, connector) = Files::new();
    let tls = Tls::open(&files.files).unwrap();
    let (scripted, address) = Scripted::start().await;
    let denies = |_: &str| vec![rule(Action::Allow, Some("add"), "agents")];
    let proxied = behind_one_address(address, &[(NAME, ClientTls::Refuse)], denies).await;
    let mut plan = Desired::clone(&desired(address));
    let server = Server {
        backend: Backend::Host {
            name: NAME.into(),
            port: address.port(),
            h2c: false,
        },
        ..Server::at(super::name(NAME, "calc"), vec![])
    };
    assert!(server.passes_other_names, "by default");
    plan.servers = vec![Arc::new(server)];
    let found: HostAddresses = [((NAME.into(), address.port()), vec![address])].into();
    proxied.plan.store(Arc::new(Plan::compile(&plan).with_hosts(&found)));
    let other = async {
        let mut stream = tls.accept(scripted.connection().await).await.unwrap();
        stream.write_all(b"other").await.unwrap();
        stream.shutdown().await.unwrap();
        stream
    };
    let client = async {
        let mut stream = secure_as(OTHER_NAME, &proxied, &connector).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let (_other, answer) = tokio::join!(other, client);
    assert_eq!(answer, "other");
    assert!(
        secure_as(NAME, &proxied, &connector).await.is_err(),
        "its own name does not"
    );
    let lines = proxied.finish().await;
    assert!(
        lines.iter().any(|line| line["method"] == "tls/passthrough"),
        "{lines:?}"
    );
    assert!(lines.iter().any(|line| line["reason"] == "tls"), "{lines:?}");
}

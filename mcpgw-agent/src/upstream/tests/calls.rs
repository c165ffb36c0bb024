//! What is sent where, what comes back, and what becomes of connections.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::TcpListener, time::timeout};

use super::{Scripted, answer, ask, name, payer, post, read_until, server, text, with, workload};
use crate::{
    resources::Timeouts,
    upstream::{
        BodyError, Upstream, UpstreamError,
        limits::{EJECTION, MAX_POOR_ANSWERS},
    },
};

#[tokio::test]
async fn a_request_goes_out_with_the_callers_host_and_without_what_ends_at_the_connection() {
    let scripted = Scripted::start().await;
    let (_upstreams, upstream) = with(server(&[scripted.address]));
    let request = Request::post("http://elsewhere/mcp?x=1")
        .header("host", "calc.tools.svc")
        .header("connection", "x-mine")
        .header("x-mine", "1")
        .header("content-length", "7")
        .header("accept-encoding", "gzip")
        .body(Full::from("body"))
        .unwrap();
    let serve = async {
        let mut stream = scripted.accept().await;
        let request = read_until(&mut stream, "body").await;
        answer(&mut stream, "done").await;
        request
    };
    let (sent, answered) = tokio::join!(serve, ask(&upstream, request));
    let expected = "POST /mcp?x=1 HTTP/1.1\r\nhost: calc.tools.svc\r\naccept-encoding: identity\r\n\
                    content-length: 4\r\n\r\nbody";
    assert_eq!((sent.as_str(), answered.unwrap().as_str()), (expected, "done"));
}

#[tokio::test]
async fn a_request_without_a_host_gets_the_endpoints_address() {
    let scripted = Scripted::start().await;
    let (_upstreams, upstream) = with(server(&[scripted.address]));
    let serve = async {
        let mut stream = scripted.accept().await;
        let request = read_until(&mut stream, "body").await;
        answer(&mut stream, "").await;
        request
    };
    let (sent, answered) = tokio::join!(serve, ask(&upstream, post("body")));
    answered.unwrap();
    assert!(sent.contains(&format!("host: {}\r\n", scripted.address)), "{sent}");
}

#[tokio::test]
async fn connections_are_used_again_also_after_a_change_that_is_not_theirs() {
    let scripted = Scripted::start().await;
    let (upstreams, upstream) = with(server(&[scripted.address]));
    let serve = async {
        let mut stream = scripted.accept().await;
        for _ in 0..3 {
            read_until(&mut stream, "body").await;
            answer(&mut stream, "done").await;
        }
    };
    let calls = async {
        ask(&upstream, post("body")).await.unwrap();
        ask(&upstream, post("body")).await.unwrap();
        let mut changed = server(&[scripted.address]);
        changed.path = "/elsewhere".into();
        upstreams.put_in_force(&[Arc::new(changed)]);
        let upstream = upstreams.get(&name()).unwrap();
        assert_eq!(&*upstream.server().path, "/elsewhere");
        ask(&upstream, post("body")).await.unwrap();
    };
    timeout(Duration::from_secs(10), async { tokio::join!(serve, calls) })
        .await
        .unwrap();
}

#[tokio::test]
async fn an_endpoint_that_was_taken_away_gets_no_more_calls() {
    let (one, two) = (Scripted::start().await, Scripted::start().await);
    let (upstreams, upstream) = with(server(&[one.address, two.address]));
    let endpoint = upstream.endpoint(one.address).unwrap();
    upstreams.put_in_force(&[Arc::new(server(&[two.address]))]);
    let refused = upstream.send(&endpoint, payer(), post("body")).await.map(|_| ());
    assert!(matches!(refused, Err(UpstreamError::Gone)), "{refused:?}");
    let upstream = upstreams.get(&name()).unwrap();
    assert!(matches!(upstream.endpoint(one.address), Err(UpstreamError::Gone)));
    upstreams.put_in_force(&[]);
    assert!(upstreams.get(&name()).is_none());
    let refused = upstream
        .send(&upstream.pick(payer()).unwrap(), payer(), post("body"))
        .await
        .map(|_| ());
    assert!(matches!(refused, Err(UpstreamError::Gone)), "{refused:?}");
}

#[tokio::test]
async fn the_least_loaded_endpoint_is_picked_and_a_call_counts_until_its_body_is_dropped() {
    let (one, two) = (Scripted::start().await, Scripted::start().await);
    let (upstreams, upstream) = with(server(&[one.address, two.address]));
    let busy = upstream.endpoint(one.address).unwrap();
    let serve = async {
        let mut stream = one.accept().await;
        read_until(&mut stream, "body").await;
        answer(&mut stream, "done").await;
        stream
    };
    let (_stream, response) = tokio::join!(serve, upstream.send(&busy, payer(), post("body")));
    let body = response.unwrap().into_body();
    for _ in 0..3 {
        assert_eq!(upstream.pick(payer()).unwrap().address(), two.address);
    }
    assert_eq!(upstreams.status()[0].endpoints[0].in_flight, 1);
    assert_eq!(text(body).await, "done");
    assert_eq!(busy.in_flight(), 0);
    let picked = [
        upstream.pick(payer()).unwrap().address(),
        upstream.pick(payer()).unwrap().address(),
    ];
    assert!(
        picked.contains(&one.address) && picked.contains(&two.address),
        "{picked:?}"
    );
}

#[tokio::test]
async fn an_ipv4_mapped_address_is_its_ipv4_address() {
    let address = (Ipv4Addr::new(192, 0, 2, 1), 80).into();
    let (_upstreams, upstream) = with(server(&[address]));
    let mapped = "[::ffff:192.0.2.1]:80".parse().unwrap();
    assert_eq!(upstream.endpoint(mapped).unwrap().address(), address);
}

#[tokio::test]
async fn a_safe_request_survives_a_connection_that_was_closed_under_it_and_no_other_does() {
    let scripted = Scripted::start().await;
    let (_upstreams, upstream) = with(server(&[scripted.address]));
    for safe in [true, false] {
        let request = || match safe {
            true => Request::get("/mcp").body(Full::default()).unwrap(),
            false => post("body"),
        };
        let end = if safe { "\r\n\r\n" } else { "body" };
        let serve = async {
            let mut stream = scripted.accept().await;
            read_until(&mut stream, end).await;
            answer(&mut stream, "first").await;
            read_until(&mut stream, end).await;
            drop(stream);
            if safe {
                let mut stream = scripted.accept().await;
                read_until(&mut stream, end).await;
                answer(&mut stream, "second").await;
            }
        };
        let calls = async {
            assert_eq!(ask(&upstream, request()).await.unwrap(), "first");
            ask(&upstream, request()).await
        };
        match tokio::join!(serve, calls).1 {
            Ok(answered) => assert!(safe && answered == "second", "{answered}"),
            Err(error) => assert!(!safe && matches!(error, UpstreamError::Closed(_)), "{error}"),
        }
    }
}

#[tokio::test]
async fn abandoning_a_call_resets_its_connection() {
    let scripted = Scripted::start().await;
    let (_upstreams, upstream) = with(server(&[scripted.address]));
    let mut call = Box::pin(ask(&upstream, post("body")));
    let mut stream = tokio::select! {
        _ = &mut call => panic!("answered"),
        stream = async {
            let mut stream = scripted.accept().await;
            read_until(&mut stream, "body").await;
            stream
        } => stream,
    };
    drop(call);
    let end = stream.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn where_nobody_listens_is_unreachable() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (_upstreams, upstream) = with(server(&[address]));
    let error = ask(&upstream, post("body")).await.unwrap_err();
    assert_eq!(error.answer(), (StatusCode::BAD_GATEWAY, "upstream_unreachable"));
    assert_eq!(error.explain(), "cannot be reached: Connection refused (os error 111)");
}

#[tokio::test]
async fn a_server_that_is_silent_within_its_answer_or_takes_too_long_in_all_ends_it_as_an_error() {
    let scripted = Scripted::start().await;
    let mut slow = server(&[scripted.address]);
    slow.timeouts = Timeouts {
        first_byte: Duration::from_secs(30),
        idle: Duration::from_millis(200),
        call: Duration::from_millis(500),
        ..Timeouts::default()
    };
    let (_upstreams, upstream) = with(slow);
    let endpoint = upstream.pick(payer()).unwrap();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n";
    // Silent; then chatty, with and without the deadline.
    for (chatty, limited) in [(false, true), (true, true), (true, false)] {
        let serve = async {
            let mut stream = scripted.accept().await;
            read_until(&mut stream, "body").await;
            stream.write_all(chunked).await.unwrap();
            for _ in 0..if chatty { 20 } else { 0 } {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if stream.write_all(b"1\r\nx\r\n").await.is_err() {
                    break;
                }
            }
            stream
        };
        let call = async {
            let body = upstream
                .send(&endpoint, payer(), post("body"))
                .await
                .unwrap()
                .into_body();
            let mut body = if limited { body } else { body.without_call_deadline() };
            let mut chunks = 0;
            loop {
                match body.frame().await.unwrap() {
                    Ok(_) => chunks += 1,
                    Err(error) => return (chunks, error),
                }
            }
        };
        let (_stream, (chunks, error)) = tokio::join!(serve, call);
        match (chatty, limited) {
            (true, true) => assert!(matches!(error, BodyError::Call(_)) && chunks < 20, "{chunks} {error}"),
            (true, false) => assert!(matches!(error, BodyError::Idle(_)) && chunks == 21, "{chunks} {error}"),
            _ => assert_eq!(error.to_string(), "the server was silent for 0.2 s"),
        }
    }
}

#[tokio::test]
async fn a_server_none_of_whose_endpoints_can_be_reached_is_said_to_be_tried_by_every_call() {
    let closed = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let all = [closed().await, closed().await];
    for addresses in [&all[..1], &all] {
        let (upstreams, upstream) = with(server(addresses));
        for _ in 0..3 {
            // Each is dialled, whatever became of the one before.
            let error = ask(&upstream, post("body")).await.unwrap_err();
            assert!(matches!(error, UpstreamError::Unreachable(_)), "{error:?}");
        }
        let problem = |address| format!("{address} could not be reached; no other can, so calls still try it");
        let expected: Vec<String> = addresses.iter().map(problem).collect();
        assert_eq!(upstreams.reach(upstream.server()).problems, expected);
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_left_alone_until_one_call_has_tried_it() {
    let (good, dead) = (Scripted::start().await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let gone = dead.local_addr().unwrap();
    drop(dead);
    let (upstreams, upstream) = with(server(&[gone, good.address]));
    let serve = async {
        loop {
            let mut stream = good.accept().await;
            read_until(&mut stream, "body").await;
            answer(&mut stream, "done").await;
        }
    };
    let client = async {
        let mut failed = 0;
        for _ in 0..20 {
            failed += u32::from(ask(&upstream, post("body")).await.is_err());
        }
        assert_eq!(failed, 1, "the first to go there, and nobody after that");
        let reach = upstreams.reach(upstream.server());
        assert_eq!(reach.problems.len(), 1);
        assert!(
            reach.problems[0].starts_with(&format!("{gone} could not be reached: left alone for ")),
            "{reach:?}"
        );
        // It has come back: of the calls after its time, one tries it, and then it is one of the two.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let first = upstream.pick(payer()).unwrap();
        let second = upstream.pick(payer()).unwrap();
        assert_eq!((first.address(), second.address()), (gone, good.address));
        let back = TcpListener::bind(gone).await.unwrap();
        let served = async {
            let (mut stream, _) = back.accept().await.unwrap();
            read_until(&mut stream, "body").await;
            answer(&mut stream, "back").await;
        };
        let (answered, ()) = tokio::join!(upstream.send(&first, payer(), post("body")), served);
        assert_eq!(text(answered.unwrap().into_body()).await, "back");
        assert_eq!(upstreams.reach(upstream.server()).problems, [""; 0]);
    };
    tokio::select! {
        () = client => {}
        () = serve => {}
    }
}

#[tokio::test]
async fn where_no_endpoint_can_be_reached_one_is_tried_all_the_same() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = dead.local_addr().unwrap();
    drop(dead);
    let (_upstreams, upstream) = with(server(&[gone]));
    for _ in 0..3 {
        let error = ask(&upstream, post("body")).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Unreachable(_)), "{error:?}");
    }
}

/// Where each of so many calls went, one after the other, and ended.
async fn destinations(upstream: &Upstream, calls: u32) -> Vec<SocketAddr> {
    let mut places = Vec::new();
    for _ in 0..calls {
        let endpoint = upstream.pick(payer()).unwrap();
        places.push(endpoint.address());
        if let Ok(answered) = upstream.send(&endpoint, payer(), post("body")).await {
            text(answered.into_body()).await;
        }
    }
    places
}

#[tokio::test]
async fn an_endpoint_that_takes_calls_and_answers_none_is_left_alone_after_a_few() {
    let busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    // It closes the connection, is silent for too long, says that it cannot.
    for poor in [Some(""), None, Some(busy)] {
        let (good, bad) = (Scripted::start().await, Scripted::start().await);
        let mut both = server(&[bad.address, good.address]);
        both.timeouts.first_byte = Duration::from_millis(if poor.is_none() { 50 } else { 20_000 });
        let (upstreams, upstream) = with(both);
        let serve_well = async {
            loop {
                let mut stream = good.accept().await;
                read_until(&mut stream, "body").await;
                answer(&mut stream, "done").await;
            }
        };
        let serve_poorly = async {
            let mut kept = Vec::new();
            loop {
                let mut stream = bad.accept().await;
                read_until(&mut stream, "body").await;
                match poor {
                    Some(said) => {
                        stream.write_all(said.as_bytes()).await.unwrap();
                        stream.shutdown().await.unwrap();
                    }
                    None => kept.push(stream),
                }
            }
        };
        let client = async {
            let places = destinations(&upstream, 40).await;
            let tried = places.iter().filter(|place| **place == bad.address).count();
            assert_eq!(tried, MAX_POOR_ANSWERS as usize, "{poor:?}: {places:?}");
            let picked = [(); 2].map(|()| upstream.pick(workload("another")).unwrap().address());
            assert!(picked.contains(&bad.address), "others are not kept from it: {picked:?}");
            let problems = upstreams.reach(upstream.server()).problems;
            let expected = format!(
                "{} failed too often for 1 of its callers: they leave it alone",
                bad.address
            );
            assert_eq!(problems, [expected]);
            // After its time one call tries it, and that it fails again is enough.
            tokio::time::sleep(EJECTION.0 + Duration::from_millis(100)).await;
            let places = destinations(&upstream, 10).await;
            let tried = places.iter().filter(|place| **place == bad.address).count();
            assert_eq!(tried, 1, "{poor:?}: {places:?}");
        };
        tokio::select! {
            () = client => {}
            () = serve_well => {}
            () = serve_poorly => {}
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_now_and_then_is_kept() {
    let (good, sometimes) = (Scripted::start().await, Scripted::start().await);
    let (_upstreams, upstream) = with(server(&[sometimes.address, good.address]));
    let serve = async |scripted: &Scripted, fails: bool| {
        for call in 0_u32.. {
            let mut stream = scripted.accept().await;
            read_until(&mut stream, "body").await;
            if !fails || call % MAX_POOR_ANSWERS == MAX_POOR_ANSWERS - 1 {
                answer(&mut stream, "done").await;
            }
        }
    };
    let client = async {
        let places = destinations(&upstream, 40).await;
        let tried = places.iter().filter(|place| **place == sometimes.address).count();
        assert_eq!(tried, 20, "{places:?}");
    };
    tokio::select! {
        () = client => {}
        () = serve(&good, false) => {}
        () = serve(&sometimes, true) => {}
    }
}

#[tokio::test]
async fn what_was_not_sent_goes_to_another_endpoint_and_what_was_sent_does_not() {
    let dead = || async { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    let (one, two, good) = (dead().await, dead().await, Scripted::start().await);
    let (_upstreams, upstream) = with(server(&[one, two, good.address]));
    let mut tried = Vec::new();
    let served = async {
        let mut stream = good.accept().await;
        read_until(&mut stream, "body").await;
        answer(&mut stream, "done").await;
        stream
    };
    let asked = upstream.ask_any(payer(), || post("body"), |endpoint| tried.push(endpoint.address()));
    let (asked, stream) = tokio::join!(asked, served);
    let (endpoint, answered) = asked.unwrap();
    assert_eq!(
        (endpoint.address(), &*tried),
        (good.address, &[one, two, good.address][..])
    );
    assert_eq!(text(answered.into_body()).await, "done");
    drop((stream, good));
    // Now there is nobody, and it ends.
    let mut tries = 0;
    let asked = upstream.ask_any(payer(), || post("body"), |_| tries += 1).await;
    assert!(asked.is_err() && tries <= 3, "{tries}");
    // One that took the request has it, whatever became of it.
    let (one, two) = (Scripted::start().await, Scripted::start().await);
    let (_upstreams, upstream) = with(server(&[one.address, two.address]));
    let served = async {
        let mut stream = one.accept().await;
        read_until(&mut stream, "body").await;
    };
    let mut tries = 0;
    let asked = async {
        upstream
            .ask_any(payer(), || post("body"), |_| tries += 1)
            .await
            .map(|_| ())
    };
    let (asked, ()) = tokio::join!(asked, served);
    assert!(matches!(asked, Err(UpstreamError::Closed(_))), "{asked:?}");
    assert_eq!(tries, 1);
}

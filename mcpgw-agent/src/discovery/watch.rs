//! One server's task: asks it, listens for changes, asks again.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    Known,
    fetch::{self, Fetched, Tongue},
    limits::{BACKOFF, FETCH_TIMEOUT, MAX_ANSWER_BYTES, MIN_INTERVAL, POLL},
};
use crate::{
    mcp::{message::Peek, sse::Parser},
    resources::ObjectName,
    upstream::{Behalf, Upstream, Upstreams},
};

/// Keeps what is known of a server current, for ever.
pub(super) async fn run(server: ObjectName, upstreams: Arc<Upstreams>, known: Arc<Known>, refresh: Arc<Notify>) {
    let mut wait = BACKOFF.0;
    loop {
        let asked = Instant::now();
        let result = match upstreams.get(&server) {
            Some(upstream) => match timeout(FETCH_TIMEOUT, fetch::fetch(&upstream)).await {
                Ok(result) => result
                    .map(|fetched| (upstream, fetched))
                    .map_err(|error| error.to_string()),
                Err(_) => Err(format!("did not list all that it offers within {FETCH_TIMEOUT:?}")),
            },
            None => Err("has no address".to_owned()),
        };
        let pause = match result {
            Ok((upstream, fetched)) => {
                wait = BACKOFF.0;
                let Fetched {
                    catalogue,
                    tongues,
                    ttl,
                } = fetched;
                known.learned(&server, catalogue).await;
                let changed = until_changed(&upstream, &tongues);
                let pause = ttl.unwrap_or(POLL).clamp(MIN_INTERVAL, POLL);
                tokio::select! {
                    () = changed => {}
                    () = sleep(pause) => {}
                    () = refresh.notified() => {}
                }
                close(&upstream, tongues).await;
                MIN_INTERVAL
            }
            Err(reason) => {
                tracing::debug!(%server, reason, "its offers are not known");
                known.failed(&server, reason);
                let pause = wait;
                wait = (wait * 2).min(BACKOFF.1);
                tokio::select! {
                    () = sleep(jittered(pause)) => {}
                    () = refresh.notified() => {}
                }
                MIN_INTERVAL.min(pause)
            }
        };
        sleep_until(asked + pause).await;
    }
}

/// Nodes that lost the same server do not all come back at once.
fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let random = RandomState::new().build_hasher().finish();
    pause.mul_f64(0.75 + (random % 1024) as f64 / 2048.0)
}

/// Waits until the server says that a list of it is another. For ever, if it has no way to say that.
async fn until_changed(upstream: &Upstream, tongues: &[Tongue]) {
    let listening = tongues.iter().map(|tongue| Box::pin(listen(upstream, tongue)));
    if tongues.is_empty() {
        return std::future::pending().await;
    }
    futures_util::future::select_all(listening).await;
}

async fn listen(upstream: &Upstream, tongue: &Tongue) {
    let mut request = match tongue {
        Tongue::Legacy { .. } => {
            let mut request = Request::new(Full::default());
            *request.method_mut() = Method::GET;
            let accept = HeaderValue::from_static("text/event-stream");
            request.headers_mut().insert(header::ACCEPT, accept);
            request
        }
        Tongue::Modern => {
            let wanted = serde_json::json!({
                "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
            });
            fetch::modern("subscriptions/listen", serde_json::json!({ "notifications": wanted }))
        }
    };
    *request.uri_mut() = fetch::path(upstream);
    tongue.identify(request.headers_mut());
    if heard(upstream, tongue, request).await.is_none() {
        // It does not tell: it is asked now and then.
        std::future::pending::<()>().await;
    }
}

/// `Some` when a list has changed; `None` when that cannot be heard.
async fn heard(upstream: &Upstream, tongue: &Tongue, mut request: Request<Full<bytes::Bytes>>) -> Option<()> {
    request.extensions_mut().insert(Behalf::Agent);
    let endpoint = tongue.endpoint(upstream)?;
    let response = upstream.ask(&endpoint, request).await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let mut body = response.into_body().without_call_deadline();
    let mut parser = Parser::new(MAX_ANSWER_BYTES);
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.ok()?.into_data() else { continue };
        parser.feed(&chunk);
        for event in parser.by_ref() {
            let Some(data) = event.ok()?.data else { continue };
            let method = Peek::new(&data)
                .ok()
                .and_then(|message| message.method.map(|method| method.into_owned()));
            if method.is_some_and(|method| method.starts_with("notifications/") && method.ends_with("/list_changed")) {
                return Some(());
            }
        }
    }
    // The server ended the stream: what it had to say since is not known.
    sleep(MIN_INTERVAL * 5).await;
    Some(())
}

/// Ends the sessions that were opened to ask and to listen.
async fn close(upstream: &Upstream, tongues: Vec<Tongue>) {
    for tongue in tongues {
        let Tongue::Legacy { session: Some(_), .. } = &tongue else {
            continue;
        };
        let Some(endpoint) = tongue.endpoint(upstream) else {
            continue;
        };
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::DELETE;
        *request.uri_mut() = fetch::path(upstream);
        let mut headers = HeaderMap::new();
        tongue.identify(&mut headers);
        *request.headers_mut() = headers;
        request.extensions_mut().insert(Behalf::Agent);
        if let Err(error) = upstream.ask(&endpoint, request).await {
            tracing::debug!(server = %upstream.server().name, %error, "a session could not be ended");
        }
    }
}

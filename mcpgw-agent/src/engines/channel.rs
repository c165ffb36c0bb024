//! The connection to a service: opened when it is first needed, and again when it has broken.

use std::sync::Arc;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::{net::lookup_host, runtime::Handle};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{
    EngineError,
    limits::{CONNECT_TIMEOUT, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT},
};
use crate::{
    resources::Engine,
    upstream::{Secure, Stream, UpstreamError, open},
};

/// HTTP/2 in ALPN.
const PROTOCOLS: [&[u8]; 1] = [b"h2"];

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    /// DNS has no address for it.
    #[error("{0} has no address")]
    Unknown(Arc<str>),
    /// DNS cannot be asked.
    #[error("its address cannot be found: {0}")]
    Dns(#[from] std::io::Error),
    /// It cannot be reached, or TLS with it fails.
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
}

/// A connection that is opened when it is needed.
pub(super) fn channel(engine: &Engine, runtime: &Handle) -> Result<Channel, EngineError> {
    let broken = |_| EngineError::Answer("its address is none");
    let address = engine.address();
    let scheme = if engine.tls.is_some() { "https" } else { "http" };
    let origin: Uri = format!("{scheme}://{address}")
        .parse()
        .map_err(|_| EngineError::Answer("its address is none"))?;
    // TLS is ours, and not tonic's, which refuses an `https` that it does not speak itself.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(broken)?
        .origin(origin)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let secure = engine
        .tls
        .as_ref()
        .map(|tls| Secure::speaking(&PROTOCOLS, tls, &engine.host));
    let (secure, host, port) = (secure.map(Arc::new), Arc::clone(&engine.host), engine.port);
    let connector = service_fn(move |_: Uri| {
        let (secure, host) = (secure.clone(), Arc::clone(&host));
        async move { connect(&host, port, secure.as_deref()).await.map(TokioIo::new) }
    });
    let _entered = runtime.enter();
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// Tries each address that the name has.
async fn connect(host: &Arc<str>, port: u16, secure: Option<&Secure>) -> Result<Stream, ConnectError> {
    let mut last = ConnectError::Unknown(Arc::clone(host));
    for address in lookup_host((&**host, port)).await? {
        match open(address, secure).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

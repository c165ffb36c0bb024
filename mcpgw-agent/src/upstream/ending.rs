//! Ends sessions that servers opened: a server keeps what nobody ends.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::{runtime::Handle, time::timeout};

use super::{endpoint::Endpoint, limits::ENDING_TIMEOUT, server::Upstream};
use crate::shares::Payer;

/// Ends a session at a server with this request, in the background: for whoever lets go of one and cannot wait, because
/// the work that it was for has failed, or was given up. Best effort: a server that cannot be reached forgets it some
/// day.
pub fn end_session(upstream: &Arc<Upstream>, endpoint: &Endpoint, payer: Payer, request: Request<Full<Bytes>>) {
    let Ok(runtime) = Handle::try_current() else { return };
    let (upstream, endpoint) = (Arc::clone(upstream), endpoint.clone());
    runtime.spawn(async move {
        let ended = timeout(ENDING_TIMEOUT, upstream.ask(&endpoint, payer, request)).await;
        let server = &upstream.server().name;
        match ended {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%server, %error, "a session could not be ended at its server"),
            Err(_) => tracing::debug!(%server, "a session could not be ended at its server in time"),
        }
    });
}

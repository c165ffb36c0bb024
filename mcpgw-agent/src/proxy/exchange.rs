//! One request: which of the two paths it is on, and the answer that every path ends with.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

use super::{
    Shared,
    gateway::{self, EventBody},
    redirected,
    refused::Refused,
    relay::{Relay, RelayError},
    room::Turn,
};
use crate::{identity::Caller, telemetry::Path};

/// The body of an answer.
pub(super) enum Body {
    /// Our own, whole.
    Whole(Full<Bytes>),
    /// A server's, on its way.
    Relay(Box<Relay>),
    /// Events that are written here.
    Events(EventBody),
}

impl Body {
    /// A server's answer.
    pub(super) fn relay(relay: Relay) -> Self {
        Self::Relay(Box::new(relay))
    }

    /// A stream that is written here.
    pub(super) fn events(events: EventBody) -> Self {
        Self::Events(events)
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole(Full::default())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        let never = |frame: Result<_, Infallible>| frame.map_err(|never| match never {});
        match &mut *self {
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx).map(|frame| frame.map(never)),
            Self::Relay(relay) => Pin::new(&mut **relay).poll_frame(cx),
            Self::Events(events) => Pin::new(events).poll_frame(cx).map(|frame| frame.map(never)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Relay(relay) => relay.is_end_stream(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Relay(relay) => relay.size_hint(),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

/// A caller has been admitted: from here on it is its part of what all share that its request takes.
pub(super) async fn admitted(shared: &Shared, caller: &Caller, turn: &mut Turn) -> Result<(), Refused> {
    turn.charge(caller)?;
    // Of those that the kernel attests it was known before whose part of the log is asked for.
    match caller.workload.is_some() || shared.telemetry.room(caller).await {
        true => Ok(()),
        false => Err(Refused::unaudited()),
    }
}

/// Answers one request, always. Dropping the future abandons it: the record of its call says `cancelled`.
pub(super) async fn serve(
    shared: Arc<Shared>,
    mut caller: Arc<Caller>,
    mut turn: Turn,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let has_room = match caller.workload {
        Some(_) => shared.telemetry.room(&caller).await,
        None => shared.telemetry.room_at_all().await,
    };
    let plan = shared.plan.load_full();
    let gateway = plan.gateway_at(caller.destination);
    let path = gateway.map_or(Path::Redirected, |_| Path::Gateway);
    let answer = match gateway {
        _ if !has_room => Err(Refused::unaudited()),
        Some(_) => gateway::serve(&shared, &mut caller, &mut turn, &plan, request).await,
        None => redirected::serve(&shared, &mut caller, &mut turn, &plan, request, None).await,
    };
    Ok(answer.unwrap_or_else(|refused| refused.answered(&shared.telemetry, &caller, path)))
}

//! Streams that end before the answer is there, for their client to resume them.
//!
//! From 2025-11-25 on a server may end the stream of a call at any time behind an event with an id, and go on when the
//! client asks for what comes behind that. A client with a session does so itself: the ids of events reach it sealed,
//! so that they are good for its own session only, and there for the server's session that they came from. For a client
//! that cannot (it has no session, or reads no streams) it is done here, and it hears of nothing.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body::{Body, Frame};
use serde_json::value::RawValue;
use tokio::time::{Sleep, sleep};

use super::{
    Call,
    limits::{FIRST_RESUMPTION, MAX_EVENT_BYTES, MAX_EVENT_ID, MAX_RESUMED_NAMES, MAX_RESUMPTIONS, RESUMPTION},
    link::Link,
    session::{Key, Session},
};
use crate::{
    mcp::{
        governed::METHODS,
        message::{self, Id},
        seal::{EventPlace, Nonce, Owner, Sealer, Token as _},
        sse::{Line, Parser},
    },
    proxy::{call::annotations, is_events, now},
    resources::ObjectName,
    upstream::{BodyError, UpstreamBody, UpstreamError},
};

/// What seals the ids of events for one session.
#[derive(Clone)]
pub(super) struct Places {
    sealer: Sealer,
    owner: Owner,
    session: Nonce,
    of: Resumed,
}

/// The call whose stream can be resumed: it is decided again then, and has no more time than it had.
#[derive(Clone)]
pub(super) struct Resumed {
    method: String,
    /// What it is about, as the server calls that.
    subject: Option<String>,
    /// Its id, as the server knows it.
    request: String,
    /// In seconds of Unix time.
    until: u64,
}

impl Resumed {
    /// A call that may take this long from now.
    pub(super) fn new(method: &str, subject: Option<&str>, request: &RawValue, limit: Duration) -> Self {
        Self {
            method: method.to_owned(),
            subject: subject.map(ToOwned::to_owned),
            request: request.get().to_owned(),
            until: now().saturating_add(limit.as_secs().max(1)),
        }
    }

    /// Its id.
    pub(super) fn request(&self) -> Option<Id> {
        Id::parse(&self.request)
    }

    /// How much time it has; `None` where that is over.
    pub(super) fn left(&self) -> Option<Duration> {
        let left = self.until.checked_sub(now()).filter(|left| *left > 0)?;
        Some(Duration::from_secs(left))
    }

    /// Whether its caller could make it now, whatever the arguments: those are not known any more.
    fn is_allowed(&self, call: &Call<'_>, server: &ObjectName) -> bool {
        let Some(seen) = call.view.seen(server) else {
            return false;
        };
        let personal = seen.is_personal.then_some(&*seen.catalogue);
        let kinds = METHODS.iter().find(|(method, _)| *method == self.method);
        let (Some((_, kinds)), Some(subject)) = (kinds, &self.subject) else {
            return true;
        };
        kinds.iter().any(|kind| {
            let annotations = annotations(call.shared, &seen.server, personal, *kind, subject);
            call.plan.shows(&seen.server, call.caller, *kind, subject, annotations)
        })
    }
}

impl Places {
    /// For a call of a session; `None` for one that callers share, whose streams nobody can resume, and for one with so
    /// long an id, or about what has so long a name, that the ids of its events could not be sealed: those are resumed here.
    pub(super) fn of(sealer: &Sealer, session: &Session, of: Resumed) -> Option<Self> {
        let Key::Own(nonce) = session.key else { return None };
        if of.subject.as_ref().map_or(0, String::len) + of.request.len() > MAX_RESUMED_NAMES {
            return None;
        }
        Some(Self {
            sealer: sealer.clone(),
            owner: session.owner,
            session: nonce,
            of,
        })
    }

    /// The id of an event, as the client gets it; `None` where it is too long.
    pub(super) fn seal(&self, link: &Link, id: &Line) -> Option<Line> {
        let id = id.as_str().filter(|id| (1..=MAX_EVENT_ID).contains(&id.len()))?;
        let place = EventPlace {
            server: link.server().to_string(),
            upstream: link.name().to_owned(),
            id: id.to_owned(),
            session: self.session,
            owner: self.owner,
            method: self.of.method.clone(),
            subject: self.of.subject.clone(),
            request: self.of.request.clone(),
            until: self.of.until,
        };
        Line::new(place.seal(&self.sealer).ok()?)
    }
}

/// The session at the server of an event with a sealed id, the server's own id of the event, and the call whose stream it
/// is: if that is one of this client's session, which may go on.
pub(super) fn place(call: &Call<'_>, session: &Session, id: &HeaderValue) -> Option<(Arc<Link>, HeaderValue, Resumed)> {
    let place = EventPlace::open(&call.gateway.sealer, id.to_str().ok()?, call.owner, now()).ok()?;
    let server = ObjectName::parse(&place.server)?;
    let of = Resumed {
        method: place.method,
        subject: place.subject,
        request: place.request,
        until: place.until,
    };
    let link = session.open_link(&server).filter(|_| of.is_allowed(call, &server))?;
    let is_of_it = session.key == Key::Own(place.session) && link.name() == place.upstream;
    is_of_it.then_some((link, HeaderValue::from_str(&place.id).ok()?, of))
}

/// The same answer, its stream resumed wherever the server ends it before the answer to the request with this id.
/// All of it may take as long as one call.
pub(super) fn resuming(
    response: Response<UpstreamBody>,
    link: &Arc<Link>,
    id: &RawValue,
    limit: Duration,
) -> Response<UpstreamBody> {
    response.map(|body| {
        let payer = body.payer();
        let resuming = Box::pin(Resuming {
            link: Arc::clone(link),
            id: Id::of(id),
            state: State::Reading(body),
            parser: Parser::new(MAX_EVENT_BYTES, payer),
            last: None,
            pause: FIRST_RESUMPTION,
            futile: 0,
            answered: false,
            deadline: Box::pin(sleep(limit)),
            limit,
        });
        UpstreamBody::copied(resuming, payer)
    })
}

/// The stream of a call, with whatever it takes to read it to its end. Whole events come out of it.
struct Resuming {
    link: Arc<Link>,
    /// Of the request, as the server knows it.
    id: Option<Id>,
    state: State,
    parser: Parser,
    /// Behind which event the stream is resumed.
    last: Option<HeaderValue>,
    /// How long the server wants to be left alone before.
    pause: Duration,
    /// How often it was resumed since the last event with an id.
    futile: usize,
    answered: bool,
    deadline: Pin<Box<Sleep>>,
    limit: Duration,
}

enum State {
    Reading(UpstreamBody),
    Asking(Asking),
    Ended,
}

/// The server's answer to the request for the rest of a stream, on its way.
type Asking = Pin<Box<dyn Future<Output = Result<Response<UpstreamBody>, UpstreamError>> + Send>>;

impl Resuming {
    /// The next event of what came; `None`: there is no whole one.
    fn event(&mut self) -> Option<Result<Bytes, BodyError>> {
        let Ok(event) = self.parser.next()? else {
            return Some(Err(BodyError::Unresumed("one of its events is too large".into())));
        };
        if let Some(retry) = event.retry {
            self.pause = Duration::from_millis(retry).clamp(RESUMPTION.0, RESUMPTION.1);
        }
        if let Some(id) = &event.id {
            // An empty one means that there is nothing to resume behind, and one that is too long is not kept.
            let is_one = (1..=MAX_EVENT_ID).contains(&id.as_bytes().len());
            self.last = is_one.then(|| HeaderValue::from_bytes(id.as_bytes()).ok()).flatten();
            self.futile = 0;
        }
        self.answered |= event
            .data
            .as_ref()
            .is_some_and(|data| message::answers(data, self.id.as_ref()));
        Some(Ok(event.raw))
    }

    /// The stream has ended, or broke off: goes on behind its last event, where there is one.
    fn ended(&mut self, why: Option<BodyError>) -> Result<(), BodyError> {
        self.state = State::Ended;
        let Some(last) = self.last.clone().filter(|_| !self.answered) else {
            return why.map_or(Ok(()), Err);
        };
        if self.futile >= MAX_RESUMPTIONS {
            let why = format!("it ended {} times without an event", self.futile);
            return Err(BodyError::Unresumed(why));
        }
        self.futile += 1;
        // What came of an event that is not whole comes again.
        self.parser = Parser::new(MAX_EVENT_BYTES, self.link.payer());
        let (link, pause) = (Arc::clone(&self.link), self.pause);
        self.state = State::Asking(Box::pin(async move {
            sleep(pause).await;
            link.listen(Some(&last)).await
        }));
        Ok(())
    }

    /// Takes the server's answer to the request for the rest.
    fn resumed(&mut self, answer: Result<Response<UpstreamBody>, UpstreamError>) -> Result<(), BodyError> {
        match answer {
            Ok(response) if response.status().is_success() && is_events(response.headers()) => {
                self.state = State::Reading(response.into_body().without_call_deadline());
                Ok(())
            }
            Ok(response) if response.status().is_client_error() => {
                Err(BodyError::Unresumed(format!("HTTP {}", response.status())))
            }
            Ok(_) | Err(_) => self.ended(None),
        }
    }
}

impl Body for Resuming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            // Behind the answer comes nothing that this client waits for.
            if this.answered {
                this.state = State::Ended;
            }
            if let State::Reading(_) = this.state
                && let Some(event) = this.event()
            {
                if event.is_err() {
                    this.state = State::Ended;
                }
                return Poll::Ready(Some(event.map(Frame::data)));
            }
            let step = match &mut this.state {
                State::Ended => return Poll::Ready(None),
                _ if this.deadline.as_mut().poll(cx).is_ready() => Err(BodyError::Call(this.limit)),
                State::Reading(body) => match ready!(Pin::new(body).poll_frame(cx)) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(chunk) => {
                            this.parser.feed(&chunk);
                            Ok(())
                        }
                        Err(_) => Ok(()),
                    },
                    Some(Err(broken @ BodyError::Broken(_))) => this.ended(Some(broken)),
                    Some(Err(error)) => Err(error),
                    None => this.ended(None),
                },
                State::Asking(asking) => {
                    let answer = ready!(asking.as_mut().poll(cx));
                    this.resumed(answer)
                }
            };
            if let Err(error) = step {
                this.state = State::Ended;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

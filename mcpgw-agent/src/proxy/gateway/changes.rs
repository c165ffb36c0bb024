//! What changes in a legacy server's messages on their way to the client.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
    super::{
        carries::Carries,
        rewrite::{EventId, Rewrite, Rewritten},
    },
    calls::InFlight,
    decline::decline,
    errors,
    hearing::Hearing,
    link::Link,
    resumption::Places,
    session::Session,
    tasks::TaskIds,
    uris::Uris,
};
use crate::mcp::{
    Kind,
    held::Held,
    level::Level,
    message::Peek,
    method::Method,
    seal::{Owner, Sealer, ServerProgress, ServerRequest, Token as _},
    splice::{Splice, json_string},
    sse::Line,
};

/// What changes in a legacy server's messages on their way to the client.
pub(super) struct Changes {
    /// The call whose answer these messages lead to.
    pub(super) in_flight: Option<InFlight>,
    /// The request whose answer may come, as the server knows it.
    pub(super) carries: Carries,
    pub(super) sealer: Sealer,
    /// Seals the ids of events, where the client can resume the stream.
    pub(super) places: Option<Places>,
    /// The client's session: it may be gone before its stream is.
    pub(super) session: Weak<Session>,
    pub(super) owner: Owner,
    pub(super) link: Arc<Link>,
    /// What the client calls its request, where the server knows that by another id.
    pub(super) own: Option<Own>,
    pub(super) modern: bool,
    pub(super) reads: bool,
    /// Whether the client can be asked by the server.
    pub(super) answers_questions: bool,
    pub(super) tasks: TaskIds,
    /// Whether the server may speak of tasks.
    pub(super) has_tasks: bool,
    /// What the client may hear of.
    pub(super) hearing: Arc<Hearing>,
    /// The URIs that are others for the client, if there are any.
    pub(super) uris: Option<Uris>,
}

/// What one client calls its request, in a session that it shares with others.
pub(super) struct Own {
    /// What the server knows the request by, and its progress.
    pub(super) sent: Box<RawValue>,
    /// The client's id of it.
    pub(super) id: Box<RawValue>,
    /// The client's token of its progress; `None`: it does not want to hear of that.
    pub(super) progress: Option<Box<RawValue>>,
    /// From which level on the client hears what the server logs: others who share the session may want to hear more.
    /// `None`: nothing.
    pub(super) level: Option<Level>,
}

impl Changes {
    /// For a stream that is no call's.
    pub(super) fn of_stream(
        sealer: Sealer,
        tasks: TaskIds,
        session: Weak<Session>,
        owner: Owner,
        link: Arc<Link>,
        hearing: Arc<Hearing>,
    ) -> Self {
        Self {
            in_flight: None,
            carries: Carries::None,
            hearing,
            places: None,
            uris: None,
            tasks,
            has_tasks: true,
            sealer,
            session,
            owner,
            link,
            own: None,
            modern: false,
            reads: false,
            answers_questions: true,
        }
    }

    /// An answer that is held whole, and counts, as the client gets it; `None` where there is no room for that.
    pub(super) fn of_answer(&mut self, message: Bytes) -> Option<Bytes> {
        self.in_flight.as_mut().into_iter().for_each(InFlight::over);
        let changed = match Peek::new(&message).map(|peek| self.response(&message, &peek)) {
            Ok(Rewritten::Replace(changed)) => changed,
            _ => return Some(message),
        };
        drop(message);
        Held::counted(changed, self.link.payer())
    }

    fn response(&mut self, message: &Bytes, peek: &Peek<'_>) -> Rewritten {
        let mut splice = Splice::new(message);
        if let (Some(own), Some(id)) = (&self.own, &peek.id)
            && id.get() == own.sent.get()
        {
            splice.replace(id.span(), own.id.get().as_bytes().to_vec());
            self.in_flight.as_mut().into_iter().for_each(InFlight::over);
        }
        if self.modern {
            self.modernise(peek, &mut splice);
        }
        if self.has_tasks {
            self.tasks.seal(message, peek, &mut splice);
        }
        if let Some(uris) = &self.uris {
            uris.change(message, peek, &mut splice);
        }
        Rewritten::by(splice)
    }

    /// What a modern client expects in every answer.
    fn modernise(&self, peek: &Peek<'_>, splice: &mut Splice<'_>) {
        if let Ok(Some(result)) = peek.result()
            && let Some(members) = result.members
            && !result.is_typed
        {
            let kept = if self.reads {
                r#","ttlMs":0,"cacheScope":"private""#
            } else {
                ""
            };
            let comma = if members.empty { "" } else { "," };
            splice.insert(members.at, format!(r#""resultType":"complete"{kept}{comma}"#));
        }
        if let Some(other) = peek.error_code().and_then(errors::for_modern)
            && let Some(part) = peek.error_code_part()
        {
            splice.replace(part.span(), other.to_string());
        }
    }

    /// A question of the server's: its id becomes one that finds the way back, and so does the token of its progress.
    fn question(&self, message: &Bytes, peek: &Peek<'_>) -> Rewritten {
        let Some(part) = &peek.id else {
            return Rewritten::Keep;
        };
        let Some(id) = part.raw() else {
            return Rewritten::Keep;
        };
        if !self.answers_questions {
            decline(&self.link, peek);
            return Rewritten::Drop;
        }
        let Some(sealed) = self.asked_as(id) else {
            decline(&self.link, peek);
            return Rewritten::Drop;
        };
        let mut splice = Splice::new(message);
        splice.replace(part.span(), json_string(&sealed));
        let wanted = peek.params().ok().and_then(|params| params.wanted_progress);
        if let Some((wanted, token)) = wanted.and_then(|wanted| Some((wanted, wanted.raw()?))) {
            let sealed = ServerProgress {
                server: self.link.server().to_string(),
                session: self.link.name().to_owned(),
                token: token.to_owned(),
                owner: self.owner,
            }
            .seal(&self.sealer);
            let Ok(sealed) = sealed else {
                decline(&self.link, peek);
                return Rewritten::Drop;
            };
            splice.replace(wanted.span(), json_string(&sealed));
        }
        self.tasks.seal(message, peek, &mut splice);
        Rewritten::Replace(splice.finish())
    }

    /// A question that its server takes back: it is named as it was when the client was asked.
    fn taken_back(&self, message: &Bytes, peek: &Peek<'_>) -> Rewritten {
        let part = peek.params().ok().and_then(|params| params.request_id);
        let Some(part) = part.filter(|_| self.answers_questions) else {
            return Rewritten::Drop;
        };
        let Some(sealed) = part.raw().and_then(|id| self.asked_as(id)) else {
            return Rewritten::Drop;
        };
        let mut splice = Splice::new(message);
        splice.replace(part.span(), json_string(&sealed));
        self.tasks.seal(message, peek, &mut splice);
        Rewritten::Replace(splice.finish())
    }

    /// What the client knows a question by that has this id at the server.
    fn asked_as(&self, id: &RawValue) -> Option<String> {
        let request = ServerRequest {
            server: self.link.server().to_string(),
            session: self.link.name().to_owned(),
            id: id.to_owned(),
            owner: self.owner,
        };
        request.seal(&self.sealer).ok()
    }

    /// That a resource changed, as the client hears it; `None` where it may not, or where it is another server's.
    fn updated(&self, message: &Bytes, peek: &Peek<'_>) -> Option<Rewritten> {
        let uri = peek.params().ok()?.uri?;
        let own = uri.text()?;
        let server = self.link.server();
        let session = self.session.upgrade();
        let is_promised = || session.is_some_and(|session| session.is_subscribed(server, &own));
        let shown = self.hearing.hears(server, &own, is_promised)?;
        if shown == *own {
            return Some(Rewritten::Keep);
        }
        let mut splice = Splice::new(message);
        splice.replace(uri.span(), json_string(&shown));
        Some(Rewritten::Replace(splice.finish()))
    }

    /// What the server says of progress: in a session that is shared, of this call's only.
    fn progress(&self, message: &Bytes, peek: &Peek<'_>) -> Rewritten {
        let mut splice = Splice::new(message);
        if let Some(own) = &self.own {
            let token = peek.params().ok().and_then(|params| params.progress_token);
            let told = token.filter(|token| token.get() == own.sent.get());
            let (Some(token), Some(progress)) = (told, &own.progress) else {
                return Rewritten::Drop;
            };
            splice.replace(token.span(), progress.get().as_bytes().to_vec());
        }
        self.tasks.seal(message, peek, &mut splice);
        Rewritten::by(splice)
    }

    /// Whether the client hears this of what the server logs.
    fn hears(&self, peek: &Peek<'_>) -> bool {
        let Some(own) = &self.own else { return true };
        let level = || Level::of(peek.params().ok()?.level?.get());
        own.level
            .is_some_and(|wanted| level().is_some_and(|level| level >= wanted))
    }

    /// What a server says while the client hears nothing but the answer: what it asks is not to wait for one.
    pub(super) fn unheard(&self, said: &Peek<'_>) {
        if said.kind == Kind::Request {
            decline(&self.link, said);
        }
    }
}

impl Rewrite for Changes {
    fn message(&mut self, message: &Bytes) -> Rewritten {
        // An event that is empty only names its place in the stream.
        if message.is_empty() {
            return Rewritten::Keep;
        }
        // What can be read in two ways could be read as anything by somebody.
        let Ok(peek) = Peek::new(message) else {
            return Rewritten::Drop;
        };
        match peek.kind {
            Kind::Response if !self.carries.may_bring(&peek) => Rewritten::Drop,
            Kind::Response => self.response(message, &peek),
            Kind::Request => self.question(message, &peek),
            Kind::Notification => match peek.method.as_deref().map(Method::of) {
                Some(Method::ResourceUpdated) => self.updated(message, &peek).unwrap_or(Rewritten::Drop),
                Some(Method::LogMessage) if !self.hears(&peek) => Rewritten::Drop,
                Some(Method::Progress) => self.progress(message, &peek),
                Some(Method::Cancelled) => self.taken_back(message, &peek),
                _ => self.tasks.message(message),
            },
        }
    }

    /// A client that has a session can resume the stream, if the id tells where.
    fn event_id(&mut self, id: &Line) -> EventId {
        let sealed = self.places.as_ref().and_then(|places| places.seal(&self.link, id));
        sealed.map_or(EventId::None, EventId::Other)
    }
}

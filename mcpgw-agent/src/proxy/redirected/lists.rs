//! Lists on the redirected path: what a caller may not have is taken out of the server's answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header, response};
use serde_json::value::RawValue;

use super::{Dialled, standing::subscription};
use crate::{
    identity::Caller,
    mcp::{
        Kind as Message,
        governed::Kind,
        list::{lists, retain},
        message::{Id, Peek},
        method::Method,
        splice::Splice,
    },
    policy::Server,
    proxy::{
        Shared,
        call::annotations,
        carries::Carries,
        is_events,
        lease::Lease,
        refused::Refused,
        rewrite::{Rewrite, Rewriter, Rewritten},
    },
    resources::{ObjectName, Pin},
    shares::Payer,
    telemetry::Listed,
    upstream::Endpoint,
};

/// A list: the member of the result that it is, the member that names its elements, and what these are to rules.
type List = (&'static str, &'static str, Kind);

const LISTS: [List; 4] = [
    ("tools", "name", Kind::Tool),
    ("prompts", "name", Kind::Prompt),
    ("resources", "uri", Kind::Resource),
    ("resourceTemplates", "uriTemplate", Kind::Resource),
];

/// Takes out of a server's messages what a caller may not have.
pub(super) struct Filter {
    shared: Arc<Shared>,
    caller: Arc<Caller>,
    server: ObjectName,
    /// One list, where it is known which one is asked for, and none where none is; else all.
    lists: &'static [List],
    /// A list that comes as the answer to something else is none that anybody looked through.
    carries: Carries,
    /// Where what passes and what does not is counted.
    counted: Option<Arc<Listed>>,
}

impl Dialled<'_> {
    /// Filters the answer to the request with this id, where rules are in force; without a method all answers on a stream
    /// that carries several.
    pub(super) fn filter(&self, method: Option<Method<'_>>, id: Option<&RawValue>) -> Option<Filter> {
        let lists = match method {
            None => &LISTS[..],
            Some(Method::ToolsList) => &LISTS[..1],
            Some(Method::PromptsList) => &LISTS[1..2],
            Some(Method::ResourcesList) => &LISTS[2..3],
            Some(Method::ResourceTemplatesList) => &LISTS[3..],
            Some(_) => &[],
        };
        let is_stream = matches!(method, None | Some(Method::Listen));
        ((self.server.cuts_lists() || is_stream) && !self.caller.observed).then(|| Filter {
            shared: Arc::clone(self.shared),
            caller: Arc::clone(self.caller),
            server: self.server.name().clone(),
            lists,
            carries: match is_stream {
                true => Carries::Any,
                false => Carries::one(id.and_then(Id::of)),
            },
            counted: None,
        })
    }

    /// What passes on a stream with this head that has no end of its own, and how long it may go on. It comes from this
    /// endpoint, and its client hears of these resources. An answer that is no stream has neither.
    pub(super) fn watched(
        &self,
        head: &mut response::Parts,
        endpoint: &Endpoint,
        method: Option<Method<'_>>,
        uris: Vec<String>,
    ) -> Result<(Option<Rewriter>, Option<Lease>), Refused> {
        let is_stream = head.status.is_success() && is_events(&head.headers);
        let Some(filter) = self
            .filter(method, None)
            .filter(|_| is_stream || self.server.cuts_lists())
        else {
            return Ok((None, None));
        };
        // What cannot be read passes for as long as nothing is to be kept from the caller.
        let rewriter = match filter.answer(head.status, &mut head.headers, self.payer) {
            Err(_) if !self.server.cuts_lists() => None,
            rewriter => rewriter?,
        };
        let lease = is_stream.then(|| self.lease(endpoint, uris, rewriter.is_some()));
        Ok((rewriter, lease))
    }
}

impl Filter {
    /// Counts there what of a list passes and what does not.
    pub(super) fn counts_in(&mut self, listed: impl FnOnce() -> Arc<Listed>) {
        if !self.lists.is_empty() {
            self.counted = Some(listed());
        }
    }

    /// Filters an answer with this head, which is changed as it must be. An answer that is no message, such as the
    /// page of an HTTP error, passes.
    pub(super) fn answer(
        self,
        status: StatusCode,
        headers: &mut HeaderMap,
        payer: Payer,
    ) -> Result<Option<Rewriter>, Refused> {
        let media = headers
            .get(header::CONTENT_TYPE)
            .map(HeaderValue::as_bytes)
            .unwrap_or_default();
        let events = is_events(headers);
        // An answer in one piece is not held for its id alone: it may be of any length.
        let json = media.to_ascii_lowercase().starts_with(b"application/json") && !self.lists.is_empty();
        if !status.is_success() || !json && !events {
            return Ok(None);
        }
        let plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
        if !headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
            let message = "The server's answer is encoded, though nobody asked for it";
            return Err(Refused::new(StatusCode::BAD_GATEWAY, "upstream_answer", message));
        }
        // It becomes shorter.
        headers.remove(header::CONTENT_LENGTH);
        Ok(Some(Rewriter::new(headers, payer, self)))
    }

    /// Whether a tool that is about to be shown so is the approved one, also as its server was last seen: else a call
    /// of it would be refused.
    fn approves(&self, server: &Server, tool: &str, json: &[u8]) -> bool {
        if server.wanted.pin != Pin::Enforce {
            return true;
        }
        let pins = self.shared.pins.table();
        let shown = pins.approves_as(server.name(), tool, json);
        if !shown {
            // What it shows to its clients it may by now show to us.
            self.shared.discovery.refresh(server.name());
        }
        shown && pins.approves(server.name(), tool)
    }

    fn filtered(&self, message: &Bytes) -> Option<Rewritten> {
        // As the rules are now: a stream can outlive several plans.
        let plan = self.shared.plan.load_full();
        let server = plan.server(&self.server)?;
        // An event that is empty only names its place in the stream, for a client to resume behind.
        if message.is_empty() || !server.cuts_lists() {
            return Some(Rewritten::Keep);
        }
        let peek = Peek::new(message).ok()?;
        let result = match peek.kind {
            Message::Request => return Some(Rewritten::Keep),
            Message::Notification if peek.method.as_deref().map(Method::of) != Some(Method::ResourceUpdated) => {
                return Some(Rewritten::Keep);
            }
            Message::Notification => {
                let uri = peek.params().ok()?.uri?;
                let hears = plan.allows(server, &self.caller, subscription(&uri.text()?));
                return hears.then_some(Rewritten::Keep);
            }
            Message::Response if !self.carries.may_bring(&peek) => return None,
            Message::Response => peek.result().ok()?,
        };
        let Some(result) = result else {
            return Some(Rewritten::Keep);
        };
        let mut splice = Splice::new(message);
        let (mut shown, mut hidden) = (0, 0);
        for (member, key, kind) in self.lists {
            for elements in lists(result.whole, member, key).ok()? {
                retain(&mut splice, &elements, |element| {
                    let name = element.name.as_deref();
                    let passes = name.is_some_and(|name| {
                        let annotations = annotations(&self.shared, server, None, *kind, name);
                        plan.shows(server, &self.caller, *kind, name, annotations)
                            && (*kind != Kind::Tool || self.approves(server, name, &message[element.span.clone()]))
                    });
                    *(if passes { &mut shown } else { &mut hidden }) += 1;
                    passes
                });
            }
        }
        if let Some(counted) = &self.counted {
            counted.add(shown, hidden);
        }
        Some(Rewritten::by(splice))
    }
}

impl Rewrite for Filter {
    /// What cannot be read beyond doubt could be read as a list by somebody: it does not pass.
    fn message(&mut self, message: &Bytes) -> Rewritten {
        self.filtered(message).unwrap_or(Rewritten::Drop)
    }
}

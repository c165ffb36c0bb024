//! A request of a legacy client's on its way to a modern server, which may have to be sent again.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::value::RawValue;

use super::{super::rewrite::Rewritten, link, session::Session, uris::Uris};
use crate::{
    mcp::{Envelope, message::Peek, params::MetaKey, splice::Splice, version::Revision},
    shares::Payer,
    upstream::{Behalf, Endpoint, Upstream, UpstreamBody, UpstreamError},
};

/// A request to a modern server, which may be sent again with what the server wanted to know.
pub(super) struct Asked {
    pub(super) upstream: Arc<Upstream>,
    pub(super) payer: Payer,
    pub(super) behalf: Option<Behalf>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) id: Box<RawValue>,
    /// The URIs that are others for the client, if there are any.
    pub(super) uris: Option<Uris>,
    /// Whether it is to read a resource.
    pub(super) reads: bool,
}

impl Asked {
    /// An answer, with the URIs that the client knows.
    pub(super) fn told(&self, answer: Bytes) -> Bytes {
        match self.uris.as_ref().map(|uris| uris.changed(&answer)) {
            Some(Rewritten::Replace(changed)) => changed,
            Some(Rewritten::Keep | Rewritten::Drop) | None => answer,
        }
    }

    /// An answer to whichever round, with the client's own id.
    pub(super) fn named(&self, answer: Bytes) -> Bytes {
        let Some(id) = Peek::new(&answer).ok().and_then(|peek| peek.id) else {
            return answer;
        };
        let mut splice = Splice::new(&answer);
        splice.replace(id.span(), self.id.get());
        splice.finish()
    }

    /// The id that it is sent under for the `round`th time again, as JSON.
    pub(super) fn sent_id(&self, round: usize) -> Cow<'_, str> {
        match round {
            0 => Cow::Borrowed(self.id.get()),
            _ => Cow::Owned(format!("\"mcpgw-retry-{round}\"")),
        }
    }

    /// Sends it; the `round`th time with these members in `params`, and under another id, as the protocol wants it.
    pub(super) async fn send(
        &self,
        round: usize,
        members: &[(&str, &[u8])],
        sent_to: impl FnMut(&Endpoint),
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let mut body = self.body.clone();
        if round > 0
            && let Ok(envelope) = Envelope::parse(&self.body)
            && let params = &envelope.params
            && let Some(inside) = params.whole.and_then(|params| params.members())
            && let Some(id) = envelope.id_span()
        {
            let mut splice = Splice::new(&self.body);
            splice.replace(id, self.sent_id(round).as_bytes());
            for (name, value) in members {
                let present = match *name {
                    "requestState" => params.request_state,
                    "inputResponses" => params.input_responses,
                    _ => None,
                };
                match present {
                    Some(part) => splice.replace(part.span(), *value),
                    None => splice.insert_member(inside, name, value),
                }
            }
            body = splice.finish();
        }
        let request = || link::post(&self.upstream, body.clone(), &self.headers, self.behalf.clone());
        let (_, response) = self.upstream.ask_any(self.payer, request, sent_to).await?;
        Ok(response)
    }
}

/// The body with what a modern server must be told about the client.
pub(super) fn introduced(body: &Bytes, session: &Session) -> Bytes {
    let Ok(envelope) = Envelope::parse(body) else {
        return body.clone();
    };
    let version = format!("\"{}\"", Revision::MODERN.as_str());
    let info = session.facts.client_info.to_string();
    let capabilities = session.facts.capabilities.to_string();
    let mut splice = Splice::new(body);
    let level = session.level();
    let mut members = vec![
        (MetaKey::ProtocolVersion, &*version),
        (MetaKey::ClientInfo, &*info),
        (MetaKey::ClientCapabilities, &*capabilities),
    ];
    if let Some(level) = &level {
        members.push((MetaKey::LogLevel, level.get()));
    }
    envelope.set_meta(&mut splice, &members);
    splice.finish()
}

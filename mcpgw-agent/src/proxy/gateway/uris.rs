//! URIs that two servers have: the older one's stay as they are, and the other one's get a prefix at the gateway. What
//! that server says of them is changed with them, so that a client that follows what it was told arrives there.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{limits::MAX_URI_STEPS, template::Steps, view::View};
use crate::{
    mcp::{
        Kind,
        message::{self, Peek},
        splice::{Splice, json_string},
    },
    proxy::rewrite::{Rewrite, Rewritten},
    resources::ObjectName,
};

/// Changes the URIs in one server's answers.
pub(super) struct Uris {
    view: Arc<View>,
    server: ObjectName,
}

/// What has URIs of resources in it: the contents of one that was read, and what a tool gave.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Given<'a> {
    #[serde(borrow)]
    contents: Vec<Named<'a>>,
    #[serde(borrow)]
    content: Vec<Block<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named<'a> {
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Block<'a> {
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
    #[serde(borrow)]
    resource: Named<'a>,
}

impl Uris {
    /// For a server; `None` where none of its URIs is another at the gateway.
    pub(super) fn of(view: &Arc<View>, server: &ObjectName) -> Option<Self> {
        view.renames(server).then(|| Self {
            view: Arc::clone(view),
            server: server.clone(),
        })
    }

    /// Changes the URIs in an answer.
    pub(super) fn change(&self, message: &[u8], peek: &Peek<'_>, splice: &mut Splice<'_>) {
        let (Ok(text), Ok(Some(result))) = (std::str::from_utf8(message), peek.result()) else {
            return;
        };
        let whole = &text[result.whole.span()];
        let Ok(given) = serde_json::from_str::<Given<'_>>(whole) else {
            return;
        };
        let blocks = given.content.iter().flat_map(|block| [block.uri, block.resource.uri]);
        let uris = given.contents.iter().map(|named| named.uri).chain(blocks);
        let mut steps = Steps::default();
        for uri in uris.flatten() {
            if steps.count() > MAX_URI_STEPS {
                tracing::debug!(server = %self.server, "an answer has too many URIs to be given as the client knows them");
                return;
            }
            let part = message::part(text, uri);
            let Some(own) = part.text() else { continue };
            let shown = self.view.shown_within(&self.server, &own, &mut steps);
            if *shown != *own {
                splice.replace(part.span(), json_string(&shown));
            }
        }
    }

    /// What becomes of a message whose URIs are changed.
    pub(super) fn changed(&self, message: &Bytes) -> Rewritten {
        let Ok(peek) = Peek::new(message) else {
            return Rewritten::Keep;
        };
        let mut splice = Splice::new(message);
        if peek.kind == Kind::Response {
            self.change(message, &peek, &mut splice);
        }
        Rewritten::by(splice)
    }
}

impl Rewrite for Uris {
    fn message(&mut self, message: &Bytes) -> Rewritten {
        self.changed(message)
    }
}

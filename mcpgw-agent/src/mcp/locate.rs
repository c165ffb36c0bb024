//! Where the parts of a message stand that a gateway changes or hands on as they are.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::message::Members;

/// The parts of a message, found in its body.
#[derive(Debug, Default)]
pub struct Located<'a> {
    /// The id.
    pub id: Option<Range<usize>>,
    /// All of `params`.
    pub params: Option<&'a RawValue>,
    /// Where members can be inserted into `params`; `None` where it is absent or no object.
    pub params_members: Option<Members>,
    /// Where members can be inserted into `params._meta`.
    pub meta_members: Option<Members>,
    /// `params.name`
    pub name: Option<Range<usize>>,
    /// `params.ref.name`
    pub reference_name: Option<Range<usize>>,
    /// `params.requestId`
    pub request_id: Option<&'a RawValue>,
    /// `params.clientInfo`
    pub client_info: Option<&'a RawValue>,
    /// `params.capabilities`
    pub capabilities: Option<&'a RawValue>,
    /// `params.level`
    pub level: Option<&'a RawValue>,
    /// `params.arguments`
    pub arguments: Option<&'a RawValue>,
}

impl<'a> Located<'a> {
    /// Finds the parts in a body that is a message.
    pub(super) fn in_body(body: &'a [u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Message<'a> {
            #[serde(borrow)]
            id: Option<&'a RawValue>,
            #[serde(borrow)]
            params: Option<&'a RawValue>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Params<'a> {
            #[serde(borrow)]
            name: Option<&'a RawValue>,
            #[serde(borrow)]
            r#ref: Option<&'a RawValue>,
            #[serde(borrow)]
            request_id: Option<&'a RawValue>,
            #[serde(borrow)]
            client_info: Option<&'a RawValue>,
            #[serde(borrow)]
            capabilities: Option<&'a RawValue>,
            #[serde(borrow)]
            level: Option<&'a RawValue>,
            #[serde(borrow)]
            arguments: Option<&'a RawValue>,
            #[serde(borrow, rename = "_meta")]
            meta: Option<&'a RawValue>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Reference<'a> {
            #[serde(borrow)]
            name: Option<&'a RawValue>,
        }
        let message: Message<'a> = serde_json::from_slice(body).ok()?;
        let params: Params<'a> = object(message.params).unwrap_or_default();
        let reference: Reference<'a> = object(params.r#ref).unwrap_or_default();
        let span = |part: &RawValue| span(body, part);
        Some(Self {
            id: message.id.map(span),
            params: message.params,
            params_members: message.params.and_then(|object| members(body, object)),
            meta_members: params.meta.and_then(|object| members(body, object)),
            name: params.name.map(span),
            reference_name: reference.name.map(span),
            request_id: params.request_id,
            client_info: params.client_info,
            capabilities: params.capabilities,
            level: params.level,
            arguments: params.arguments,
        })
    }
}

fn object<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    let raw = raw.filter(|raw| raw.get().starts_with('{'))?;
    serde_json::from_str(raw.get()).ok()
}

/// Where a part that was borrowed from a body stands in it.
fn span(body: &[u8], part: &RawValue) -> Range<usize> {
    let start = part.get().as_ptr().addr() - body.as_ptr().addr();
    start..start + part.get().len()
}

fn members(body: &[u8], object: &RawValue) -> Option<Members> {
    let inside = object.get().strip_prefix('{')?;
    Some(Members {
        at: span(body, object).start + 1,
        empty: inside.trim_ascii_start().starts_with('}'),
    })
}

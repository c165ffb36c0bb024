//! The trace that a request is part of, as W3C Trace Context writes it: in `params._meta`, where MCP has it, or in
//! the headers. What is malformed is as if it were not there.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Version};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::mcp::{
    Envelope,
    params::{Meta, MetaKey},
    splice::{Splice, json_string},
};

/// Bytes of a `traceparent` as version 00 has it, and as later ones begin.
const TRACEPARENT: usize = 55;
/// Longest `traceparent` of a later version, in bytes.
const MAX_TRACEPARENT: usize = 256;
/// Longest `tracestate`, in bytes: what the specification says that must be passed on. A longer one is left out.
const MAX_TRACESTATE: usize = 512;
/// Longest `baggage`, in bytes: what the specification says that must be passed on. A longer one is left out.
const MAX_BAGGAGE: usize = 8_192;

/// What came with a request, and may say which trace it is part of.
#[derive(Clone, Copy)]
pub struct Carried<'a> {
    /// Its HTTP headers.
    pub headers: &'a HeaderMap,
    /// Its HTTP version.
    pub version: Version,
    /// Its `params._meta`.
    pub meta: &'a Meta<'a>,
}

impl Carried<'_> {
    /// The caller's span.
    pub fn parent(&self) -> Option<SpanContext> {
        self.of_meta().or_else(|| self.of_headers())
    }

    /// The trace that the caller says it is part of.
    pub(in crate::telemetry) fn trace_id(&self) -> Option<TraceId> {
        self.parent().map(|parent| parent.trace_id())
    }

    fn of_meta(&self) -> Option<SpanContext> {
        let state = self.said(MetaKey::Tracestate);
        parse(&self.said(MetaKey::Traceparent)?, state.as_deref())
    }

    fn of_headers(&self) -> Option<SpanContext> {
        let mut parents = self.headers.get_all("traceparent").iter();
        let parent = parents.next()?;
        // Two of them are none.
        if parents.next().is_some() {
            return None;
        }
        parse(parent.to_str().ok()?, self.joined("tracestate").as_deref())
    }

    /// What the caller wants to be known all along the trace.
    pub fn baggage(&self) -> Option<String> {
        let said = self.said(MetaKey::Baggage).map(Cow::into_owned);
        said.filter(|text| is_plain(text, MAX_BAGGAGE))
            .or_else(|| self.joined("baggage").filter(|text| is_plain(text, MAX_BAGGAGE)))
    }

    fn said(&self, key: MetaKey) -> Option<Cow<'_, str>> {
        self.meta.get(key)?.text()
    }

    /// A header that may be there several times, for one list.
    fn joined(&self, name: &str) -> Option<String> {
        let mut whole = String::new();
        for value in self.headers.get_all(name) {
            if !whole.is_empty() {
                whole.push(',');
            }
            whole.push_str(value.to_str().ok()?);
        }
        Some(whole).filter(|whole| !whole.is_empty())
    }
}

/// Reads `traceparent`, and `tracestate` with it. Stricter than the SDK's reader, which takes signs for digits.
fn parse(parent: &str, state: Option<&str>) -> Option<SpanContext> {
    let parent = parent.trim_matches([' ', '\t']);
    if !parent.is_ascii() || parent.len() < TRACEPARENT || parent.len() > MAX_TRACEPARENT {
        return None;
    }
    let (known, rest) = parent.split_at(TRACEPARENT);
    let mut fields = known.split('-');
    let mut hex = |length: usize| {
        let field = fields.next()?;
        let is_hex = field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (field.len() == length && is_hex).then_some(field)
    };
    let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let fits = match version {
        "00" => rest.is_empty(),
        "ff" => false,
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    if !fits {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let state = state.filter(|state| is_plain(state, MAX_TRACESTATE) && has_members(state));
    let state = state
        .and_then(|state| state.parse::<TraceState>().ok())
        .unwrap_or_default();
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        state,
    );
    context.is_valid().then_some(context)
}

/// Whether each member of a `tracestate` has a key and one value, which the SDK's reader does not mind.
fn has_members(state: &str) -> bool {
    let members = state.split(',').map(|member| member.trim_matches([' ', '\t']));
    members.filter(|member| !member.is_empty()).all(|member| {
        let (key, value) = member.split_once('=').unwrap_or_default();
        !key.is_empty() && !value.is_empty() && !value.contains('=')
    })
}

/// Whether it can be in a header, and is not too long for one.
fn is_plain(text: &str, max: usize) -> bool {
    text.len() <= max && text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

/// What the server is told of the trace.
#[derive(Clone, Debug)]
pub struct Propagated {
    parent: String,
    state: String,
    baggage: Option<String>,
}

impl Propagated {
    /// This span, and what else is to be known all along the trace.
    pub fn new(span: &SpanContext, baggage: Option<String>) -> Self {
        Self {
            parent: format!(
                "00-{}-{}-{:02x}",
                span.trace_id(),
                span.span_id(),
                span.trace_flags() & TraceFlags::SAMPLED
            ),
            state: span.trace_state().header(),
            baggage,
        }
    }

    /// Tells it in headers, in place of what the caller told there.
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        let mut write = |name: &'static str, text: &str| match HeaderValue::from_str(text) {
            Ok(value) if !text.is_empty() => drop(headers.insert(name, value)),
            _ => drop(headers.remove(name)),
        };
        write("traceparent", &self.parent);
        write("tracestate", &self.state);
        write("baggage", self.baggage.as_deref().unwrap_or_default());
    }

    /// Tells it in `params._meta`, in place of what the caller told there; not where `params` is no object. What the
    /// caller said that is not about the trace stays, byte for byte.
    pub fn write_meta(&self, envelope: &Envelope<'_>, splice: &mut Splice<'_>) {
        let params = &envelope.params;
        if params.whole.and_then(|params| params.members()).is_none() {
            return;
        }
        let json = |text: &str| String::from_utf8(json_string(text)).unwrap_or_default();
        let parent = json(&self.parent);
        let state = json(&self.state);
        let baggage = self.baggage.as_deref().map(json);
        let mut members = vec![(MetaKey::Traceparent, &*parent)];
        // A state that came with another parent is not this one's.
        if !self.state.is_empty() || params.meta.get(MetaKey::Tracestate).is_some() {
            members.push((MetaKey::Tracestate, &*state));
        }
        if let Some(baggage) = &baggage
            && params.meta.get(MetaKey::Baggage).is_none()
        {
            members.push((MetaKey::Baggage, &**baggage));
        }
        envelope.set_meta(splice, &members);
    }
}

#[cfg(test)]
#[path = "context_tests.rs"]
mod tests;

//! Writes the gateway's own answers.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    super::{exchange::Body, refused::json},
    updates::SUBSCRIPTION_ID,
};
use crate::mcp::sse;

/// A result, as the era of the client wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Legacy,
    /// With `resultType`, and how long it may be kept.
    ModernList,
}

/// The members of a result that come first in its form.
fn preamble(form: Form, result: &mut BytesMut) {
    match form {
        Form::Legacy => {}
        Form::ModernList => {
            let ttl = super::limits::LIST_TTL_MS;
            let members = format!(r#""resultType":"complete","ttlMs":{ttl},"cacheScope":"private","#);
            result.put_slice(members.as_bytes());
        }
    }
}

/// The answer to request `id`, whose result has the members that `write` writes: at least one.
pub(super) fn with_members(id: &RawValue, form: Form, write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut answer = BytesMut::with_capacity(256);
    answer.put_slice(br#"{"jsonrpc":"2.0","id":"#);
    answer.put_slice(id.get().as_bytes());
    answer.put_slice(br#","result":{"#);
    preamble(form, &mut answer);
    write(&mut answer);
    answer.put_slice(b"}}");
    answer.freeze()
}

/// The answer to request `id` with an empty result.
pub(super) fn empty(id: &RawValue) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, id.get()).into()
}

/// The answer to request `id` with this result, an object.
pub(super) fn with_result(id: &RawValue, result: &impl Serialize) -> Bytes {
    #[derive(Serialize)]
    struct Answer<'a, T> {
        jsonrpc: &'static str,
        id: &'a RawValue,
        result: &'a T,
    }
    let answer = Answer {
        jsonrpc: "2.0",
        id,
        result,
    };
    // What the gateway answers always serialises.
    serde_json::to_vec(&answer).unwrap_or_default().into()
}

/// The answer to the `subscriptions/listen` with this id: that it is over.
pub(in crate::proxy) fn end_of_listening(id: &RawValue) -> Bytes {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{{"{SUBSCRIPTION_ID}":{id}}}}}}}"#
    )
    .into()
}

/// HTTP 200 with a JSON body.
pub(super) fn ok(body: Bytes) -> Response<Body> {
    json(StatusCode::OK, body)
}

/// HTTP 200 with an event stream of this one message.
pub(super) fn one_event(body: &Bytes) -> Response<Body> {
    events(Body::from(sse::event(body, None, None)))
}

/// An event stream.
pub(super) fn events(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

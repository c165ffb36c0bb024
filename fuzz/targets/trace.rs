//! What a server is told of a trace is what was understood of it, and the rest of the message stays. The input: the
//! headers `traceparent`, `tracestate` and `baggage`, a line each, then the message.
#![no_main]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use libfuzzer_sys::fuzz_target;
use mcpgw_agent::{
    mcp::{Envelope, splice::Splice},
    telemetry::{Carried, Propagated},
};

const NAMES: [HeaderName; 3] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];

fn carried<'a>(headers: &'a HeaderMap, envelope: &'a Envelope<'_>) -> Carried<'a> {
    Carried {
        headers,
        version: Version::HTTP_11,
        meta: &envelope.params.meta,
    }
}

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(4, |byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for name in NAMES {
        let value = parts.next().unwrap_or_default();
        if let (false, Ok(value)) = (value.is_empty(), HeaderValue::from_bytes(value)) {
            headers.insert(name, value);
        }
    }
    let body = Bytes::copy_from_slice(parts.next().unwrap_or_default());
    let Ok(envelope) = Envelope::parse(&body) else { return };
    let came = carried(&headers, &envelope);
    let Some(parent) = came.parent() else { return };
    assert!(parent.is_valid());
    let told = Propagated::new(&parent, came.baggage());

    let mut sent = HeaderMap::new();
    told.write_headers(&mut sent);
    let without = Envelope::parse(br#"{"jsonrpc":"2.0","method":"ping","id":1}"#).expect("a request");
    let heard = carried(&sent, &without)
        .parent()
        .expect("what was written is understood");
    assert_eq!(heard, parent);

    let mut splice = Splice::new(&body);
    told.write_meta(&envelope, &mut splice);
    let sent = splice.finish();
    let again = Envelope::parse(&sent).expect("a message still");
    assert_eq!(
        (&again.method, again.id.map(|id| id.get())),
        (&envelope.method, envelope.id.map(|id| id.get()))
    );
    assert_eq!(
        again.params.arguments.map(|part| part.get()),
        envelope.params.arguments.map(|part| part.get())
    );
    if envelope.params.whole.is_some_and(|params| params.members().is_some()) {
        let headers = HeaderMap::new();
        assert_eq!(carried(&headers, &again).parent(), Some(parent));
    }
});

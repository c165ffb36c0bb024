use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-00";

/// The caller's span as a request tells it: `_meta` as JSON, and headers.
fn told(meta: &str, headers: &[(&'static str, &str)]) -> (Option<SpanContext>, Option<String>) {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a","_meta":{meta}}}}}"#);
    let envelope = Envelope::parse(body.as_bytes()).unwrap();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let carried = Carried {
        headers: &map,
        version: Version::HTTP_11,
        meta: &envelope.params.meta,
    };
    (carried.parent(), carried.baggage())
}

fn span_of(context: &SpanContext) -> String {
    context.span_id().to_string()
}

#[test]
fn meta_is_believed_before_headers() {
    let meta = format!(r#"{{"traceparent":"{PARENT}","tracestate":"a=1,b=2","baggage":"k=v"}}"#);
    let headers = [("traceparent", OTHER), ("tracestate", "c=3"), ("baggage", "h=1")];
    let (parent, baggage) = told(&meta, &headers);
    let parent = parent.unwrap();
    assert_eq!(parent.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span_of(&parent), "b7ad6b7169203331");
    assert!(parent.is_sampled() && parent.is_remote());
    assert_eq!(parent.trace_state().header(), "a=1,b=2");
    assert_eq!(baggage.as_deref(), Some("k=v"));
}

#[test]
fn headers_are_believed_where_meta_says_nothing_good() {
    let headers = [
        ("traceparent", OTHER),
        ("tracestate", "c=3"),
        ("tracestate", "d=4"),
        ("baggage", "h=1"),
    ];
    for meta in [
        "{}",
        "null",
        r#"{"traceparent":1,"baggage":[]}"#,
        r#"{"traceparent":"00-xyz"}"#,
    ] {
        let (parent, baggage) = told(meta, &headers);
        let parent = parent.unwrap();
        assert_eq!(span_of(&parent), "2222222222222222", "{meta}");
        assert!(!parent.is_sampled());
        assert_eq!(parent.trace_state().header(), "c=3,d=4");
        assert_eq!(baggage.as_deref(), Some("h=1"));
    }
}

#[test]
fn what_is_malformed_is_as_if_it_were_not_there() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let span = "b7ad6b7169203331";
    for bad in [
        String::new(),
        PARENT[..54].to_owned(),
        format!("{PARENT}0"),
        format!("{PARENT}-00"),
        PARENT.to_uppercase(),
        format!("ff-{trace}-{span}-01"),
        format!("+0-{trace}-{span}-01"),
        format!("00-{}-{span}-01", "0".repeat(32)),
        format!("00-{trace}-{}-01", "0".repeat(16)),
        format!("00-{trace}-{span}-+1"),
        format!("00-+{}-{span}-01", &trace[1..]),
        format!("00_{trace}_{span}_01"),
        format!("01-{trace}-{span}-01x"),
        format!("01-{trace}-{span}-01-{}", "x".repeat(MAX_TRACEPARENT)),
        format!("00-{}-{span}-01", "ä".repeat(16)),
    ] {
        assert!(parse(&bad, None).is_none(), "{bad}");
    }
    // Of a later version as much is read as is known of it.
    let later = parse(&format!("cc-{trace}-{span}-03-what-comes"), None).unwrap();
    assert_eq!((span_of(&later).as_str(), later.is_sampled()), (span, true));
    assert!(
        told("{}", &[("traceparent", PARENT), ("traceparent", OTHER)])
            .0
            .is_none()
    );
}

#[test]
fn a_bad_state_or_baggage_is_left_out_and_the_parent_is_not() {
    let long = "x".repeat(MAX_TRACESTATE);
    for state in [
        "=",
        "a=",
        "=1",
        "a==1",
        "a",
        "UPPER=1",
        "a=1\nb=2",
        &format!("a={long}"),
    ] {
        let parent = parse(PARENT, Some(state)).unwrap();
        assert_eq!(parent.trace_state().header(), "", "{state}");
    }
    let baggage = format!("k={}", "v".repeat(MAX_BAGGAGE));
    assert_eq!(told("{}", &[("baggage", &baggage)]).1, None);
    assert_eq!(told(r#"{"baggage":"a=\u0000"}"#, &[]).1, None);
}

fn propagated(state: &str, baggage: Option<&str>) -> Propagated {
    Propagated::new(&parse(PARENT, Some(state)).unwrap(), baggage.map(ToOwned::to_owned))
}

fn spliced(body: &str, propagated: &Propagated) -> String {
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let envelope = Envelope::parse(&bytes).unwrap();
    let mut splice = Splice::new(&bytes);
    propagated.write_meta(&envelope, &mut splice);
    String::from_utf8(splice.finish().to_vec()).unwrap()
}

#[test]
fn the_server_is_told_in_meta_and_every_other_byte_stays() {
    let body = |params: &str| format!(r#"{{ "jsonrpc":"2.0", "id" : 1,"method":"tools/call","params":{params}}}"#);
    let plain = propagated("", None);
    let full = propagated("a=1", Some("k=v"));
    for (before, by, after) in [
        // Replaced where it is there.
        (
            format!(r#"{{ "name":"a","_meta":{{"x": 1 , "traceparent":"{OTHER}","y":[ ]}}}}"#),
            &plain,
            format!(r#"{{ "name":"a","_meta":{{"x": 1 , "traceparent":"{PARENT}","y":[ ]}}}}"#),
        ),
        // Inserted where it is not, and the state of another parent is taken away.
        (
            r#"{"name":"a","_meta":{"tracestate":"z=9"}}"#.to_owned(),
            &plain,
            format!(r#"{{"name":"a","_meta":{{"traceparent":"{PARENT}","tracestate":""}}}}"#),
        ),
        (
            r#"{"name":"a"}"#.to_owned(),
            &full,
            format!(r#"{{"_meta":{{"traceparent":"{PARENT}","tracestate":"a=1","baggage":"k=v"}},"name":"a"}}"#),
        ),
        // What the caller says of its own stays.
        (
            r#"{"name":"a","_meta":{"baggage":"mine=1"}}"#.to_owned(),
            &plain,
            format!(r#"{{"name":"a","_meta":{{"traceparent":"{PARENT}","baggage":"mine=1"}}}}"#),
        ),
    ] {
        assert_eq!(spliced(&body(&before), by), body(&after), "{before}");
    }
}

#[test]
fn a_request_without_params_keeps_its_body() {
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"x/y"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"x/y","params":null}"#,
    ] {
        assert_eq!(spliced(body, &propagated("", None)), body);
    }
}

#[test]
fn headers_are_replaced() {
    let mut headers = HeaderMap::new();
    for (name, value) in [("traceparent", OTHER), ("traceparent", OTHER), ("tracestate", "z=9")] {
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    propagated("", Some("k=v")).write_headers(&mut headers);
    assert_eq!(headers.get_all("traceparent").iter().collect::<Vec<_>>(), [PARENT]);
    assert!(!headers.contains_key("tracestate"));
    assert_eq!(headers["baggage"], "k=v");
}

proptest! {
    #[test]
    fn no_text_makes_a_bad_header(parent in "\\PC{0,80}", state in "\\PC{0,80}") {
        if let Some(context) = parse(&parent, Some(&state)) {
            let mut headers = HeaderMap::new();
            Propagated::new(&context, None).write_headers(&mut headers);
            prop_assert!(parse(headers["traceparent"].to_str().unwrap(), None).is_some());
        }
    }

    #[test]
    fn what_is_told_is_what_the_next_one_reads(trace in "[0-9a-f]{32}", span in "[0-9a-f]{16}", sampled: bool) {
        prop_assume!(trace.bytes().any(|byte| byte != b'0') && span.bytes().any(|byte| byte != b'0'));
        let text = format!("00-{trace}-{span}-0{}", u8::from(sampled));
        let context = parse(&text, None).unwrap();
        prop_assert_eq!(&Propagated::new(&context, None).parent, &text);
    }
}

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    super::{Envelope, params::MetaKey},
    *,
};

fn apply(body: &str, edit: impl FnOnce(&Envelope<'_>, &mut Splice<'_>)) -> String {
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let mut splice = Splice::new(&bytes);
    edit(&Envelope::parse(&bytes).unwrap(), &mut splice);
    String::from_utf8(splice.finish().to_vec()).unwrap()
}

fn set_meta(body: &str, members: &[(MetaKey, &str)]) -> String {
    apply(body, |envelope, splice| envelope.set_meta(splice, members))
}

#[test]
fn a_body_without_edits_is_the_body() {
    let body = Bytes::from_static(b"{}");
    let same = Splice::new(&body).finish();
    assert_eq!(same.as_ptr(), body.as_ptr());
}

#[test]
fn edits_apply_in_any_order_and_in_one_allocation_of_the_exact_size() {
    let body = r#"{"id": 7, "jsonrpc":"2.0","method":"tools/call","params":{"name":"a_add" ,"x":[1]}}"#;
    let new = apply(body, |envelope, splice| {
        splice.replace(
            envelope.params.name.as_ref().unwrap().span.clone(),
            json_string("ad\"d"),
        );
        splice.replace(envelope.id_span().unwrap(), "\"sealed\"");
    });
    assert_eq!(
        new,
        r#"{"id": "sealed", "jsonrpc":"2.0","method":"tools/call","params":{"name":"ad\"d" ,"x":[1]}}"#
    );
}

#[test]
fn edits_that_overlap_or_lie_outside_are_never_made() {
    let body = Bytes::from_static(b"0123456789");
    let spliced = |spans: &[(usize, usize)]| {
        let mut splice = Splice::new(&body);
        for (start, end) in spans {
            splice.replace(*start..*end, "x");
        }
        std::panic::catch_unwind(|| splice.finish()).ok()
    };
    for spans in [
        &[(2, 5), (4, 6)][..],
        &[(4, 6), (2, 5)],
        &[(2, 5), (2, 5)],
        &[(2, 5), (3, 4)],
        &[(2, 5), (3, 3)],
        &[(8, 11)],
        &[(11, 11)],
        &[(5, 4)],
    ] {
        assert_eq!(spliced(spans), None, "{spans:?}");
    }
    assert_eq!(
        spliced(&[(2, 5), (5, 6), (0, 2), (2, 2), (10, 10)]).unwrap(),
        "xxxx6789x"
    );
}

#[test]
fn an_object_can_be_given_several_members() {
    for (object, expected) in [
        ("{}", r#"{"a":1,"b":"x","c":[]}"#),
        (r#"{ "d":2}"#, r#"{"a":1,"b":"x","c":[], "d":2}"#),
    ] {
        let body = Bytes::from(object);
        let empty = object == "{}";
        let mut splice = Splice::new(&body);
        for (key, json) in [("a", "1"), ("b", "\"x\""), ("c", "[]")] {
            splice.insert_member(Members { at: 1, empty }, key, json);
        }
        assert_eq!(splice.finish(), expected);
    }
}

#[test]
fn metadata_is_set_wherever_there_is_room_for_it() {
    let set = |params: &str| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list"{params}}}"#);
        let members = [(MetaKey::Traceparent, "\"t\""), (MetaKey::ProgressToken, "5")];
        set_meta(&body, &members).replace(r#""jsonrpc":"2.0","id":1,"method":"tools/list""#, "…")
    };
    for (before, after) in [
        ("", r#"{"params":{"_meta":{"traceparent":"t","progressToken":5}},…}"#),
        (
            r#","params":null"#,
            r#"{…,"params":{"_meta":{"traceparent":"t","progressToken":5}}}"#,
        ),
        (
            r#","params":{ }"#,
            r#"{…,"params":{"_meta":{"traceparent":"t","progressToken":5} }}"#,
        ),
        (
            r#","params":{"a":1}"#,
            r#"{…,"params":{"_meta":{"traceparent":"t","progressToken":5},"a":1}}"#,
        ),
        (
            r#","params":{"_meta":null}"#,
            r#"{…,"params":{"_meta":{"traceparent":"t","progressToken":5}}}"#,
        ),
        (
            r#","params":{"_meta":{}}"#,
            r#"{…,"params":{"_meta":{"traceparent":"t","progressToken":5}}}"#,
        ),
        (
            r#","params":{"_meta":{"b":2}}"#,
            r#"{…,"params":{"_meta":{"traceparent":"t","progressToken":5,"b":2}}}"#,
        ),
        (
            r#","params":{"_meta":{"progressToken":"old"}}"#,
            r#"{…,"params":{"_meta":{"traceparent":"t","progressToken":5}}}"#,
        ),
        (
            r#","params":{"_meta":{"traceparent":"old", "progressToken":"old"}}"#,
            r#"{…,"params":{"_meta":{"traceparent":"t", "progressToken":5}}}"#,
        ),
    ] {
        assert_eq!(set(before), after, "{before}");
    }
}

#[test]
fn strings_are_written_as_json() {
    for text in ["", "add", "größe", "a\"b\\c\n\u{1}\u{7f}"] {
        assert_eq!(serde_json::from_slice::<String>(&json_string(text)).unwrap(), text);
    }
}

/// A message with everything that is rewritten, written with spaces and escapes anywhere.
fn body() -> impl Strategy<Value = String> {
    let id = prop_oneof![any::<i64>().prop_map(Value::from), ".{0,8}".prop_map(Value::from)];
    let text = ".{0,12}";
    let extra = prop::collection::vec(("[a-z]{1,4}[0-9]", ".{0,4}"), 0..4);
    (id, text, text, text, extra, any::<bool>(), any::<bool>()).prop_map(
        |(id, name, cursor, token, extra, pretty, escape)| {
            let mut message = json!({
                "jsonrpc": "2.0", "id": id, "method": "tools/call",
                "params": {"name": name, "cursor": cursor, "_meta": {"progressToken": token}},
            });
            for (key, value) in extra {
                message["params"][&key] = Value::from(value.clone());
                message["params"]["_meta"][&key] = json!({ key.clone(): value });
                message[key] = Value::Null;
            }
            let text = if pretty {
                serde_json::to_string_pretty(&message).unwrap()
            } else {
                message.to_string()
            };
            if escape {
                text.replace("\"name\"", "\"n\\u0061me\"")
            } else {
                text
            }
        },
    )
}

proptest! {
    #[test]
    fn a_splice_changes_its_value_and_nothing_else(body in body(), new in ".{0,12}", which in 0..4usize) {
        let envelope = Envelope::parse(body.as_bytes()).unwrap();
        let params = &envelope.params;
        let (span, path) = match which {
            0 => (envelope.id_span().unwrap(), "/id"),
            1 => (params.name.as_ref().unwrap().span.clone(), "/params/name"),
            2 => (params.cursor.as_ref().unwrap().span.clone(), "/params/cursor"),
            _ => (envelope.progress_token().unwrap().span(), "/params/_meta/progressToken"),
        };
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let mut splice = Splice::new(&bytes);
        splice.replace(span.clone(), json_string(&new));
        let spliced = splice.finish();

        let mut expected: Value = serde_json::from_str(&body).unwrap();
        *expected.pointer_mut(path).unwrap() = Value::from(new);
        prop_assert_eq!(serde_json::from_slice::<Value>(&spliced).unwrap(), expected);
        prop_assert_eq!(&spliced[..span.start], &bytes[..span.start]);
        let behind = bytes.len() - span.end;
        prop_assert_eq!(&spliced[spliced.len() - behind..], &bytes[span.end..]);
        prop_assert!(Envelope::parse(&spliced).is_ok());
    }

    #[test]
    fn metadata_that_is_set_is_all_that_changes(body in body(), value in ".{0,8}") {
        let value = Value::from(value);
        let text = value.to_string();
        let members = [(MetaKey::ProgressToken, &*text), (MetaKey::Baggage, &*text), (MetaKey::ClientInfo, "{}")];
        let set = set_meta(&body, &members);
        let mut expected: Value = serde_json::from_str(&body).unwrap();
        expected["params"]["_meta"]["progressToken"] = value.clone();
        expected["params"]["_meta"]["baggage"] = value;
        expected["params"]["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({});
        prop_assert_eq!(serde_json::from_str::<Value>(&set).unwrap(), expected);
    }
}

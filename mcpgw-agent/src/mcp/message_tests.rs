use proptest::prelude::*;

use super::*;

fn peek(body: &str) -> Peek<'_> {
    Peek::new(body.as_bytes()).unwrap_or_else(|_| panic!("{body}"))
}

fn result(body: &str) -> ResultPeek<'_> {
    peek(body).result().unwrap().unwrap()
}

/// Checks that the part lies where it says, and returns what it says.
fn at<'a>(body: &'a str, part: Option<Part<'a>>) -> &'a str {
    let part = part.expect(body);
    assert_eq!(&body[part.span()], part.get());
    part.get()
}

#[test]
fn messages_are_told_apart() {
    for (body, kind) in [
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, Kind::Request),
        (r#" {"m\u0065thod":"a","id":""}"#, Kind::Request),
        (r#"{"method":"notifications/x","params":{}}"#, Kind::Notification),
        (r#"{"method":"notifications/x","id":null}"#, Kind::Notification),
        (r#"{"id":1,"result":{}}"#, Kind::Response),
        (r#"{"id":1,"result":null}"#, Kind::Response),
        (r#"{"id":1,"result":{},"error":null}"#, Kind::Response),
        (r#"{"id":1,"result":null,"error":{}}"#, Kind::Response),
        (r#"{"error":{"code":-32700}}"#, Kind::Response),
        (r#"{"id":null,"error":{},"later":[{}]}"#, Kind::Response),
    ] {
        assert_eq!(peek(body).kind, kind, "{body}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_or_in_none_is_no_message() {
    for body in [
        "",
        "{",
        "[]",
        r#"[1,"ping"]"#,
        r#"[{"id":1,"method":"ping"}]"#,
        "null",
        "{}",
        r#"{"id":1}"#,
        r#"{"id":{},"method":"a"}"#,
        r#"{"id":true,"result":{}}"#,
        r#"{"method":7}"#,
        r#"{"method":"a","result":{}}"#,
        r#"{"id":1,"result":{},"error":{}}"#,
        r#"{"id":1,"\u0069d":2,"result":{}}"#,
        r#"{"id":1,"result":{},"result":{}}"#,
        r#"{"id":1,"result":{}} {}"#,
        "{\"id\":\"\u{1}\",\"result\":{}}",
    ] {
        assert!(Peek::new(body.as_bytes()).is_err(), "{body}");
    }
    assert!(Peek::new(b"{\"id\":\"\xff\",\"result\":{}}").is_err());
    for body in [
        r#"{"id":1,"result":{"isError":false,"isError":true}}"#,
        r#"{"id":1,"result":{"_meta":{},"_meta":{}}}"#,
    ] {
        assert!(peek(body).result().is_err(), "{body}");
    }
}

#[test]
fn the_parts_of_a_notification_are_found_where_they_are() {
    let body = r#" {"method":"notifications/x", "params" : {"uri":"file:///\u0061","progressToken": 7 ,"requestId":"r",
        "taskId":"t","elicitationId":"e","_meta":{"progressToken":"p","x":[1],
        "io.modelcontextprotocol/subscriptionId":1.5,"io.modelcontextprotocol/related-task":{"taskId":"rt"}}}}"#;
    let params = peek(body).params().unwrap();
    assert_eq!(at(body, params.progress_token), "7");
    assert_eq!(at(body, params.wanted_progress), r#""p""#);
    assert_eq!(at(body, params.request_id), r#""r""#);
    assert_eq!(at(body, params.task_id), r#""t""#);
    assert_eq!(at(body, params.subscription_id), "1.5");
    assert_eq!(at(body, params.related_task), r#""rt""#);
    assert_eq!(params.uri.and_then(|uri| uri.text()).unwrap(), "file:///a");
}

#[test]
fn params_of_another_shape_say_nothing() {
    for params in ["[]", r#"["a"]"#, "7", "null", r#"{"_meta":[1]}"#] {
        let body = format!(r#"{{"method":"a","params":{params}}}"#);
        let params = peek(&body).params().unwrap();
        assert!(params.uri.is_none() && params.subscription_id.is_none(), "{body}");
    }
}

#[test]
fn results_are_told_apart() {
    let kind = |result_text: &str| result(&format!(r#"{{"id":1,"result":{result_text}}}"#)).kind;
    assert_eq!(kind("{}"), ResultKind::Complete);
    assert_eq!(kind(r#"{"resultType":"complete"}"#), ResultKind::Complete);
    assert_eq!(
        kind(r#"{"resultType":"input\u005frequired"}"#),
        ResultKind::InputRequired
    );
    assert_eq!(kind(r#"{"resultType":"task","taskId":"t"}"#), ResultKind::Task);
    assert_eq!(kind(r#"{"task":{"taskId":"t"}}"#), ResultKind::Task);
    assert_eq!(kind(r#"{"resultType":"later"}"#), ResultKind::Other);
    assert_eq!(kind(r#"{"resultType":7}"#), ResultKind::Other);
    assert_eq!(kind(r#""odd""#), ResultKind::Complete);
}

#[test]
fn the_parts_of_a_result_are_found_where_they_are() {
    let body = r#"{"id": "i" ,"result": {"isError":true,"requestState":"s","taskId":"t","content":[{"isError":false}],
        "_meta":{"io.modelcontextprotocol/subscriptionId":"l","io.modelcontextprotocol/related-task":{"taskId":"rt"}}}}"#;
    assert_eq!(at(body, peek(body).id), r#""i""#);
    let result = result(body);
    assert!(result.is_error);
    assert_eq!(at(body, result.task_id), r#""t""#);
    assert_eq!(at(body, result.related_task), r#""rt""#);
    assert!(at(body, Some(result.whole)).ends_with("}}}"));
    let legacy = r#"{"id":1,"result":{"task":{"taskId":"t"}}}"#;
    assert_eq!(at(legacy, self::result(legacy).task_id), r#""t""#);
}

#[test]
fn members_go_behind_the_opening_brace() {
    for (body, expected) in [
        (r#"{"id":1,"result": { }}"#, r#"{"id":1,"result": {"a":1 }}"#),
        (r#"{"result":{"b":2},"id":1}"#, r#"{"result":{"a":1,"b":2},"id":1}"#),
    ] {
        let members = result(body).members.unwrap();
        let comma = if members.empty { "" } else { "," };
        let (before, after) = body.split_at(members.at);
        assert_eq!(format!(r#"{before}"a":1{comma}{after}"#), expected);
    }
    assert_eq!(result(r#"{"id":1,"result":[]}"#).members, None);
}

#[test]
fn an_error_has_its_code_where_it_is_a_whole_number() {
    let code = |error: &str| peek(&format!(r#"{{"id":1,"error":{error}}}"#)).error_code();
    assert_eq!(code(r#"{"message":"m","code":-32602}"#), Some(-32602));
    for odd in [
        "{}",
        "7",
        r#"{"code":"1"}"#,
        r#"{"code":1e99}"#,
        r#"{"code":1,"code":2}"#,
    ] {
        assert_eq!(code(odd), None, "{odd}");
    }
    assert!(peek(r#"{"id":1,"error":{}}"#).is_error() && !peek(r#"{"id":1,"result":{}}"#).is_error());
}

#[test]
fn ids_are_equal_by_value() {
    let id = |text: &str| Id::of(&RawValue::from_string(text.to_owned()).unwrap());
    assert_eq!(id(r#""\u0061""#), id(r#""a""#));
    assert_eq!(id("1.0"), id("1"));
    assert_eq!(id("-1e1"), id("-10"));
    assert_ne!(id("1"), id(r#""1""#));
    assert_ne!(id("18446744073709551615"), id("18446744073709551614"));
    for none in ["null", "{}", "true", "[1]"] {
        assert_eq!(id(none), None, "{none}");
    }
}

#[test]
fn depth_costs_no_stack() {
    let deep = format!(r#"{{"id":1,"result":{}{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(result(&deep).kind, ResultKind::Complete);
}

proptest! {
    #[test]
    fn nothing_panics_and_every_part_lies_in_the_body(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ":", ",", " ", "\"", "\\", "\"id\":", "\"method\":\"a\"", "\"params\":", "\"result\":",
            "\"error\":", "\"_meta\":", "\"uri\":", "\"isError\":true", "\"task\":", "\"taskId\":", "1", "null", "\"ü\"",
        ]), 0..24),
    ) {
        let body = pieces.concat();
        if let Ok(peek) = Peek::new(body.as_bytes()) {
            let (params, result) = (peek.params(), peek.result());
            let _ = peek.error_code();
            let parts = params.iter().flat_map(|params| [params.uri, params.task_id, params.related_task]);
            let of_result = result.iter().flatten().flat_map(|result| [Some(result.whole), result.task_id]);
            for part in parts.chain(of_result).chain([peek.id]).flatten() {
                prop_assert_eq!(&body[part.span()], part.get());
            }
        }
    }
}

use http::HeaderValue;
use serde_json::json;

use super::{super::Envelope, *};

fn compile(schema: Value) -> Result<Option<ParamHeaders>, BadAnnotation> {
    ParamHeaders::of_schema(&serde_json::value::to_raw_value(&schema).unwrap())
}

/// A tool with an annotated string, an integer two levels down, and a boolean.
fn tool() -> ParamHeaders {
    compile(json!({"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "limits": {"type": "object", "properties": {"rows": {"type": "integer", "x-mcp-header": "Rows"}}},
        "dry": {"type": "boolean", "x-mcp-header": "Dry"},
        "query": {"type": "string"},
    }}))
    .unwrap()
    .unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

fn check(arguments: &str, pairs: &[(&'static str, &str)]) -> Result<(), Rejection> {
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#);
    tool().check(
        &headers(pairs),
        Envelope::parse(body.as_bytes()).unwrap().params.arguments,
    )
}

#[track_caller]
fn refused(arguments: &str, pairs: &[(&'static str, &str)]) {
    let rejection = check(arguments, pairs).expect_err(arguments);
    assert_eq!(
        (rejection.status, rejection.code),
        (400, -32020),
        "{}",
        rejection.message
    );
}

#[test]
fn headers_that_say_what_the_arguments_say_pass() {
    let all = r#"{"region":"us west1","limits":{"rows":42},"dry":true,"query":"q"}"#;
    let said = [
        ("mcp-param-region", "us west1"),
        ("mcp-param-rows", "42"),
        ("mcp-param-dry", "true"),
    ];
    check(all, &said).unwrap();
    check(
        r#"{"region":"größe"}"#,
        &[("mcp-param-region", "=?base64?Z3LDtsOfZQ==?=")],
    )
    .unwrap();
    check("{}", &[]).unwrap();
    check("null", &[]).unwrap();
    check(r#"{"region":null,"limits":7}"#, &[]).unwrap();
    assert!(tool().check(&headers(&[]), None).is_ok());
}

#[test]
fn a_header_that_is_missing_or_says_something_else_is_a_header_mismatch() {
    refused(r#"{"region":"eu"}"#, &[]);
    refused(r#"{"region":"eu"}"#, &[("mcp-param-region", "us")]);
    refused(r#"{"region":"eu"}"#, &[("mcp-param-region", "EU")]);
    refused(
        r#"{"region":"eu"}"#,
        &[("mcp-param-region", "eu"), ("mcp-param-region", "eu")],
    );
    refused(r#"{"region":"größe"}"#, &[("mcp-param-region", "größe")]);
    refused(r#"{"region":"a"}"#, &[("mcp-param-region", "=?base64?YQ?=")]);
    refused(r#"{"dry":true}"#, &[("mcp-param-dry", "True")]);
    refused(r#"{"dry":true}"#, &[("mcp-param-dry", "1")]);
}

#[test]
fn a_header_for_an_argument_that_is_not_there_is_a_header_mismatch() {
    for arguments in ["{}", "null", r#"{"region":null}"#, r#"{"region":["eu"]}"#] {
        refused(arguments, &[("mcp-param-region", "eu")]);
    }
    assert!(tool().check(&headers(&[("mcp-param-region", "eu")]), None).is_err());
}

#[test]
fn whole_numbers_compare_as_numbers_and_without_rounding() {
    let rows = |body: &str, header: &str| {
        check(
            &format!(r#"{{"limits":{{"rows":{body}}}}}"#),
            &[("mcp-param-rows", header)],
        )
    };
    for (body, header) in [
        ("42", "42"),
        ("42.0", "42"),
        ("42", "42.000"),
        ("-7", "-7.0"),
        ("0", "-0"),
    ] {
        rows(body, header).unwrap_or_else(|error| panic!("{body} {header}: {}", error.message));
    }
    for (body, header) in [
        ("42", "43"),
        ("42", "42.5"),
        ("42", "4.2e1"),
        ("42", "0x2a"),
        ("42", " 42"),
        ("42", ""),
        ("42", "42."),
        ("9007199254740992", "9007199254740993"),
        ("9007199254740991", "9007199254740990.9"),
        ("\"42\"", "42.0"),
    ] {
        assert!(rows(body, header).is_err(), "{body} {header}");
    }
}

#[test]
fn an_argument_that_is_there_twice_is_refused() {
    for arguments in [
        r#"{"region":"eu","region":"us"}"#,
        r#"{"region":"eu","r\u0065gion":"us"}"#,
        r#"{"region":"us","limits":{},"limits":{"rows":1}}"#,
    ] {
        assert!(check(arguments, &[("mcp-param-region", "us")]).is_err(), "{arguments}");
    }
}

#[test]
fn headers_that_the_tool_does_not_speak_of_are_left_alone() {
    check(
        r#"{"region":"eu"}"#,
        &[("mcp-param-region", "eu"), ("mcp-param-query", "nothing")],
    )
    .unwrap();
}

#[test]
fn what_is_written_passes_its_own_check() {
    let arguments = r#"{"region":" größe","limits":{"rows":-42.0},"query":"q"}"#;
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#);
    let envelope = Envelope::parse(body.as_bytes()).unwrap();
    let mut map = headers(&[("mcp-param-dry", "stale"), ("mcp-param-region", "stale")]);
    tool().write(envelope.params.arguments, &mut map).unwrap();
    tool().check(&map, envelope.params.arguments).unwrap();
    assert_eq!(map.get("mcp-param-rows").unwrap(), "-42");
    assert_eq!(map.get("mcp-param-dry"), None);
}

#[test]
fn annotations_that_the_specification_does_not_allow_are_found() {
    use BadAnnotation as Bad;
    let property = |schema: Value| compile(json!({"type": "object", "properties": {"a": schema}}));
    let a = || "a".to_owned();
    for name in [
        json!(""),
        json!("a b"),
        json!("a\r\nb"),
        json!("größe"),
        json!("a:b"),
        json!(7),
        json!(null),
    ] {
        let schema = json!({"type": "string", "x-mcp-header": name});
        assert_eq!(property(schema), Err(Bad::Name(a())), "{name}");
    }
    for kind in [
        json!("number"),
        json!("object"),
        json!("array"),
        json!("null"),
        json!(["string", "null"]),
        json!(null),
    ] {
        let schema = json!({"type": kind, "x-mcp-header": "A"});
        assert_eq!(property(schema), Err(Bad::Type(a())), "{kind}");
    }
    let annotated = || json!({"type": "string", "x-mcp-header": "A"});
    for schema in [
        json!({"type": "array", "items": annotated()}),
        json!({"oneOf": [annotated()]}),
        json!({"not": annotated()}),
        json!({"if": {"properties": {"b": annotated()}}}),
        json!({"additionalProperties": annotated()}),
        json!({"$defs": {"properties": annotated()}}),
    ] {
        assert_eq!(property(schema.clone()), Err(Bad::Place), "{schema}");
    }
    assert_eq!(compile(json!({"x-mcp-header": "A", "type": "string"})), Err(Bad::Place));
    assert_eq!(compile(json!({"$defs": {"x": annotated()}})), Err(Bad::Place));
    let twice = json!({"properties": {"a": annotated(), "b": {"type": "integer", "x-mcp-header": "a"}}});
    assert!(matches!(compile(twice), Err(Bad::Twice(_))));
    let many: Map<String, Value> = (0..=MAX_ANNOTATED)
        .map(|n| {
            (
                n.to_string(),
                json!({"type": "string", "x-mcp-header": format!("h{n}")}),
            )
        })
        .collect();
    assert_eq!(compile(json!({"properties": many})), Err(Bad::Many));
    let escaped = RawValue::from_string(r#"{"\u0078-mcp-header":"A","type":"string"}"#.to_owned()).unwrap();
    assert_eq!(ParamHeaders::of_schema(&escaped), Err(Bad::Place));
}

#[test]
fn what_only_looks_like_an_annotation_is_none() {
    for schema in [
        json!({"properties": {"x-mcp-header": {"type": "string"}}}),
        json!({"properties": {"a": {"type": "object", "default": {"x-mcp-header": 7}}}}),
        json!({"description": "x-mcp-header"}),
        json!({"properties": 7}),
    ] {
        assert_eq!(compile(schema.clone()), Ok(None), "{schema}");
    }
}

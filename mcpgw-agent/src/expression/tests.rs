use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;

/// One call.
struct Call {
    arguments: Option<Json>,
    claims: Map<String, Json>,
}

impl Variables for Call {
    fn value(&self, variable: Variable) -> Result<Value<'_>, Fault> {
        Ok(match variable {
            Variable::HttpMethod => Value::text("POST"),
            Variable::Method => Value::text("tools/call"),
            Variable::Server => Value::text("tools/files"),
            Variable::Tool => Value::text("write"),
            Variable::Arguments => return self.arguments.as_ref().map(Value::of_json).ok_or(Fault::Unknown),
            Variable::Namespace => Value::text("agents"),
            Variable::Claims => Value::Object(&self.claims),
            Variable::Pid => Value::Int(7),
            Variable::Prompt
            | Variable::Resource
            | Variable::Workload
            | Variable::ServiceAccount
            | Variable::Principal
            | Variable::Executable => Value::text(""),
        })
    }
}

fn with(arguments: Json) -> Call {
    let Json::Object(claims) = json!({"role": "admin", "realm": {"tenant": "blue"}, "n": 3}) else {
        unreachable!()
    };
    Call {
        arguments: Some(arguments),
        claims,
    }
}

fn unknown() -> Call {
    Call {
        arguments: None,
        ..with(Json::Null)
    }
}

fn holds(source: &str, call: &Call) -> Result<bool, Fault> {
    let compiled = Expression::compile(source).unwrap_or_else(|refused| panic!("{source}: {refused}"));
    compiled.holds(call)
}

fn refused(source: &str) -> String {
    Expression::compile(source).expect_err(source).to_string()
}

#[test]
fn expressions_say_what_cel_says() {
    let call = with(json!({
        "path": "/data/a.txt", "amount": 12.5, "count": 3, "big": 18_446_744_073_709_551_615_u64,
        "list": [1, 2.0, "x", null, {"a": 1}], "object": {"a": {"b": true}}, "names": ["ab", "cd"], "text": "äöü"
    }));
    for (source, expected) in [
        ("mcp.tool == 'write' && mcp.server == 'tools/files'", true),
        ("request.method == 'POST' && mcp.tool != 'x'", true),
        (
            "mcp.arguments.path.startsWith('/data/') && !mcp.arguments.path.contains('..')",
            true,
        ),
        ("mcp.arguments.path.endsWith('.md')", false),
        (r"mcp.arguments.path.matches('^/data/[a-z]+\\.txt$')", true),
        (
            "mcp.arguments.amount <= 12.5 && mcp.arguments.amount > 12 && mcp.arguments.count < 3.5",
            true,
        ),
        (
            "mcp.arguments.count == 3.0 && mcp.arguments.count + 1 == 4 && 10 % mcp.arguments.count == 1",
            true,
        ),
        ("mcp.arguments.big > 9223372036854775807", true),
        ("-mcp.arguments.count * 2 == -6 && 7 / mcp.arguments.count == 2", true),
        (
            "mcp.arguments.list[1] == 2 && mcp.arguments.list[2] == 'x' && mcp.arguments.list[3] == null",
            true,
        ),
        (
            "mcp.arguments.list[4] == mcp.arguments.object || 2 in mcp.arguments.list",
            true,
        ),
        ("mcp.arguments.object.a.b", true),
        (
            "has(mcp.arguments.object.a) && !has(mcp.arguments.nothing) && 'a' in mcp.arguments.object",
            true,
        ),
        ("size(mcp.arguments.names) == 2 && mcp.arguments.text.size() == 3", true),
        (
            "mcp.arguments.names.all(n, n.size() == 2) && mcp.arguments.names.exists(n, n == 'cd')",
            true,
        ),
        (
            "mcp.arguments.names.exists_one(n, n.startsWith('a')) && mcp.arguments.object.all(k, k == 'a')",
            true,
        ),
        (
            "mcp.arguments.names.all(n, mcp.arguments.names.exists(m, m == n))",
            true,
        ),
        ("mcp.tool in ['read', 'write']", true),
        (
            "jwt.claims.role == 'admin' && jwt.claims['realm'].tenant == 'blue' && source.pid == 7",
            true,
        ),
        ("identity.namespace + '/' + mcp.tool == 'agents/write'", true),
        ("mcp.arguments.count > 5 ? true : mcp.tool == 'write'", true),
        ("mcp.arguments.path == 7", false),
        ("[1, 2] == [1, 2.0] && mcp.tool == 'write'", true),
        ("has(mcp.prompt)", false),
    ] {
        assert_eq!(holds(source, &call), Ok(expected), "{source}");
    }
}

#[test]
fn what_fails_matters_only_where_the_other_side_does_not_settle_it() {
    let call = with(json!({"names": ["a", 1]}));
    for (source, expected) in [
        ("mcp.arguments.x == 1 || mcp.tool == 'write'", true),
        ("mcp.tool == 'x' && mcp.arguments.x == 1", false),
        ("mcp.arguments.x == 1 && mcp.tool == 'x'", false),
        ("mcp.arguments.names.exists(n, n.startsWith('a'))", true),
        ("mcp.arguments.names.all(n, n.startsWith('b'))", false),
    ] {
        assert_eq!(holds(source, &call), Ok(expected), "{source}");
    }
    for source in [
        "mcp.arguments.x == 1",
        "!(mcp.arguments.x == 1)",
        "mcp.arguments.x == 1 || mcp.tool == 'x'",
        "mcp.arguments.names[2] == 'a'",
        "mcp.arguments.names",
        "mcp.arguments.names.all(n, n.startsWith('a'))",
        "mcp.arguments.names.exists_one(n, n.startsWith('a'))",
        "mcp.arguments.names < 'x'",
        "source.pid / (source.pid - 7) == 1",
        "source.pid * 9223372036854775807 * 9223372036854775807 > 0",
    ] {
        assert!(matches!(holds(source, &call), Err(Fault::Failed(_))), "{source}");
    }
}

#[test]
fn without_arguments_only_what_depends_on_them_is_open() {
    for (source, expected) in [
        ("mcp.tool == 'x' && mcp.arguments.a == 1", Ok(false)),
        ("mcp.tool == 'write' || mcp.arguments.a == 1", Ok(true)),
        ("mcp.tool == 'write' && mcp.arguments.a == 1", Err(Fault::Unknown)),
        ("jwt.claims.nothing == 1 && mcp.arguments.a == 1", Err(Fault::Unknown)),
        ("mcp.arguments.a == jwt.claims.nothing", Err(Fault::Unknown)),
        ("!has(mcp.arguments.a)", Err(Fault::Unknown)),
    ] {
        assert_eq!(holds(source, &unknown()), expected, "{source}");
    }
}

#[test]
fn what_cannot_be_right_is_refused_with_its_place() {
    for (source, reason) in [
        (
            "mcp.tol == 'x'",
            "column 4 of the expression: unknown variable \"mcp.tol\"; there is mcp.method, mcp.server",
        ),
        (
            "true &&\n tool == 'x'",
            "line 2, column 2 of the expression: unknown variable \"tool\"; there are request, mcp",
        ),
        ("mcp == 'x'", "mcp is no value by itself; there is mcp.method"),
        ("mcp.tool == 1", "a string and a number are never equal"),
        ("mcp.tool", "the expression must be a boolean, but is a string"),
        ("mcp.tool && true", "the left side must be a boolean, but is a string"),
        (
            "mcp.tool.lowerAscii() == 'x'",
            "unknown function lowerAscii(); known: size",
        ),
        ("now() > 1", "unknown function now()"),
        (
            "mcp.tool.startsWith(7)",
            "the text to look for must be a string, but is a number",
        ),
        (
            "mcp.tool.name == 'x'",
            "the value before the dot must be an object, but is a string",
        ),
        ("mcp.tool < 7", "a string and a number do not go together here"),
        (
            "mcp.tool.matches(mcp.server)",
            "a regular expression must be written here",
        ),
        ("mcp.tool.matches('(')", "is no regular expression"),
        ("mcp.tool.matches('(a{1000}){1000}')", "is no regular expression"),
        ("mcp.arguments.l.map(x, x) == []", "map() is not supported"),
        ("mcp.arguments.l.all(1, true)", "needs a name for the elements"),
        ("has(mcp.arguments)", "is always there"),
        ("has(mcp.tool == 'x')", "has() needs a member"),
        ("{'a': 1} == mcp.arguments", "objects cannot be made here"),
        ("b'x' == mcp.arguments.a", "bytes are not supported"),
        ("mcp.tool == ", "Syntax error"),
        ("false", "is always false"),
        ("mcp.tool == 'x' && 1 > 2", "is always false"),
        ("request.method == 'GET'", "is always false"),
        ("1 / 0 == 1", "always fails: a division by zero"),
        ("", "Syntax error"),
    ] {
        let found = refused(source);
        assert!(found.contains(reason), "{source}: {found}");
    }
    assert!(refused(&"a".repeat(MAX_BYTES + 1)).contains("is 4097 bytes long; at most 4096 are allowed"));
}

#[test]
fn deep_nesting_is_refused_and_long_chains_are_not() {
    let nested = |count: usize, open: &str, close: &str| {
        let source = format!("{}mcp.tool == 'x'{}", open.repeat(count), close.repeat(count));
        Expression::compile(&source).map_err(|refused| refused.to_string())
    };
    assert!(nested(MAX_BRACKETS, "(", ")").is_ok());
    assert_eq!(
        nested(MAX_BRACKETS + 1, "(", ")"),
        Err("has brackets in more than 16 others".to_owned())
    );
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("true ? ", " : true"),
        ("true || !", ""),
        ("- 1 < 1 == ", ""),
    ] {
        assert!(nested(1000, open, close).is_err(), "{open}");
    }
    assert!(refused(&format!("{}1 == mcp.arguments.a", "1 + ".repeat(500))).contains("nested more than 48 deep"));
    assert!(refused(&format!("mcp.arguments{} == 1", ".a".repeat(1000))).contains("nested more than 48 deep"));
    for piece in [
        "!", "-", "a.", "1+", "true?", "x?x:", "a,", "a&&", "'", "\"\"\"", "a in ", "a<b<",
    ] {
        let repeated = piece.repeat(MAX_BYTES / piece.len());
        assert!(Expression::compile(&repeated).is_err(), "{piece}");
    }
    let chain = vec!["mcp.tool == 'x'"; 100].join(" || ");
    assert!(Expression::compile(&chain).is_ok());
}

#[test]
fn no_arguments_can_make_an_evaluation_long() {
    let numbers: Vec<usize> = (0..5_000).collect();
    let call = with(json!({"numbers": numbers, "text": "a".repeat(200_000)}));
    for source in [
        "mcp.arguments.numbers.all(a, mcp.arguments.numbers.all(b, a + b >= 0))",
        "mcp.arguments.numbers.all(a, mcp.arguments.text.matches('(a*)*b') == false)",
        "mcp.arguments.numbers.all(a, !mcp.arguments.text.contains('b'))",
        "mcp.arguments.numbers.all(a, a in mcp.arguments.numbers)",
        "mcp.arguments.numbers.all(a, mcp.arguments.numbers == mcp.arguments.numbers)",
        "mcp.arguments.numbers.all(a, size(mcp.arguments.text) > 0)",
        "mcp.arguments.numbers.all(a, size(mcp.arguments.text + mcp.arguments.text) > 0)",
    ] {
        assert_eq!(holds(source, &call), Err(Failure::TooCostly.into()), "{source}");
    }
    assert_eq!(holds("mcp.arguments.numbers.all(a, a < 5000)", &call), Ok(true));
}

#[test]
fn an_expression_knows_what_it_reads() {
    let reads = |source: &str| Expression::compile(source).unwrap().reads;
    let all = reads("'x' in jwt.claims && jwt.claims.a.b == 'x' && jwt.claims['c'] == 'x' && has(jwt.claims.d)");
    let path = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect::<Vec<Arc<str>>>();
    assert_eq!(all.claims, [path(&[]), path(&["a", "b"]), path(&["c"]), path(&["d"])]);
    assert_eq!(all.variables, [Variable::Claims]);
    assert_eq!(reads("jwt.claims[mcp.tool] == 'x'").claims, [path(&[])]);
    assert!(reads("mcp.tool == 'x' || mcp.arguments.a == 1").has(Variable::Arguments));
    assert!(!reads("mcp.tool == 'x'").has(Variable::Arguments));
}

#[test]
fn what_a_variable_cannot_be_settles_that_an_expression_never_holds() {
    let fits = |narrow: &Narrow<'_>| narrow.may(Variable::Tool, |tool| tool == "write");
    let never = |source: &str| match Expression::compile(source).unwrap().can_hold(fits) {
        Ok(()) => None,
        Err(never) => Some(never.to_string()),
    };
    for source in [
        "mcp.tool == 'write'",
        "'write' == mcp.tool",
        "mcp.tool in ['read', 'write']",
        "mcp.tool != 'read'",
        "!(mcp.tool == 'read')",
        "mcp.tool == 'read' || mcp.method == 'tools/call'",
        "mcp.tool == 'read' || mcp.tool == 'write'",
        "mcp.tool.startsWith('r')",
        "mcp.arguments.tool == 'read'",
        "source.pid == 7 && source.pid in [7, 8]",
        "mcp.arguments.all(a, mcp.tool == 'read')",
        "mcp.tool == mcp.arguments.tool",
        "mcp.tool in ['read', mcp.arguments.tool]",
    ] {
        assert_eq!(never(source), None, "{source}");
    }
    let read = "mcp.tool would have to be \"read\"";
    for (source, needs) in [
        ("mcp.tool == 'read'", read),
        ("'read' == mcp.tool", read),
        ("mcp.arguments.a == 1 && mcp.tool == 'read'", read),
        ("(mcp.tool == 'read' || mcp.tool == 'list') && true", read),
        (
            "mcp.tool in ['read', 'list', 7]",
            "mcp.tool would have to be one of [\"read\", \"list\"]",
        ),
    ] {
        assert_eq!(never(source).as_deref(), Some(needs), "{source}");
    }
    let contradiction = "is always false: mcp.tool would have to be what nothing is";
    for source in [
        "mcp.tool == 'a' && mcp.tool == 'b'",
        "mcp.tool in ['a', 'b'] && mcp.tool in ['c']",
        "mcp.tool == 'a' && mcp.method == 'tools/call' && (mcp.tool == 'b' || mcp.tool == 'c')",
    ] {
        assert_eq!(refused(source), contradiction, "{source}");
    }
    let of_two = Expression::compile("(mcp.tool == 'a' && mcp.method == 'x') || mcp.tool == 'b'").unwrap();
    let said = |narrow: &Narrow<'_>| {
        narrow.may(Variable::Method, |method| method != "x") && narrow.may(Variable::Tool, |tool| tool == "a")
    };
    assert!(of_two.can_hold(said).is_err(), "each side is asked about by itself");
}

proptest! {
    /// What holds for a call can hold where variables may be what that call's are.
    #[test]
    fn what_holds_is_never_said_not_to(parts in prop::collection::vec((0..5_usize, any::<bool>()), 1..8)) {
        let atoms = [
            "mcp.tool == 'write'",
            "mcp.tool in ['write', 'x']",
            "mcp.tool == 'x'",
            "mcp.method == 'tools/call'",
            "identity.namespace != 'agents'",
        ];
        let mut source = String::from("mcp.arguments.yes");
        for (atom, and) in parts {
            source = format!("({source}) {} {}", if and { "&&" } else { "||" }, atoms[atom]);
        }
        let call = with(json!({"yes": true}));
        let fits = |narrow: &Narrow<'_>| {
            narrow.may(Variable::Tool, |tool| tool == "write") && narrow.may(Variable::Method, |method| method == "tools/call")
        };
        let holds = |compiled: &Expression| compiled.holds(&call) == Ok(true);
        match Expression::compile(&source) {
            Ok(compiled) => prop_assert!(!holds(&compiled) || compiled.can_hold(fits).is_ok(), "{source}"),
            Err(refused) => prop_assert!(refused.reason.starts_with("is always false"), "{source}: {refused}"),
        }
    }

    #[test]
    fn no_text_takes_the_compiler_down(source in r#"[a-z. ()'"\[\]&|!=<>+*/%?:,0-9\\{}\n-]{0,60}"#) {
        if let Ok(compiled) = Expression::compile(&source) {
            let _ = compiled.holds(&with(json!({"a": 1})));
        }
    }

    #[test]
    fn numbers_compare_by_value(a in any::<i64>(), b in -1e19_f64..1e19) {
        let call = with(json!({"a": a, "b": b}));
        let less = holds("mcp.arguments.a < mcp.arguments.b", &call);
        let exact = (a as i128) < (b.ceil() as i128);
        prop_assert_eq!(less, Ok(exact));
    }
}

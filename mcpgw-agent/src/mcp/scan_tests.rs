use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn scan(text: &str) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text.as_bytes())?;
    let part = scanner.skip()?;
    scanner.end()?;
    assert_eq!(part.get(), text.trim_matches([' ', '\n', '\t', '\r']));
    assert_eq!(&text[part.span()], part.get());
    Ok(())
}

#[test]
fn what_serde_json_refuses_is_refused() {
    for text in [
        "",
        " ",
        "{",
        "[",
        "\"",
        "[1,]",
        "[,]",
        "{,}",
        "{\"a\":1,}",
        "{\"a\"}",
        "{a:1}",
        "{1:1}",
        "[1 2]",
        "01",
        "-",
        "1.",
        ".5",
        "+1",
        "1e",
        "1e+",
        "0x1",
        "tru",
        "True",
        "nul",
        "NaN",
        "1e999",
        "-1e400",
        "[1]]",
        "{}{}",
        "'a'",
        "\"\u{1}\"",
        r#""\x""#,
        r#""\u12g4""#,
        r#""\u12"#,
        r#""\ud800""#,
        r#""\ud800x""#,
        r#""\ud800\n""#,
        r#""\ud800\ud800""#,
        r#""\udc00""#,
        r#""\u+123""#,
        "\u{feff}1",
        "\u{a0}1",
        "1\u{c}",
        "//1",
    ] {
        assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
        assert!(scan(text).is_err(), "{text}");
    }
}

#[test]
fn what_serde_json_reads_is_read() {
    for text in [
        "0",
        "-0",
        "-0.0e-0",
        "1e308",
        "1E+2",
        "123456789012345678901234567890",
        "1e-999",
        "\"\"",
        " [ ] ",
        "\t{ }\r\n",
        "null",
        r#""\"\\\/\b\f\n\r\t""#,
        r#""\ud83d\uDE00""#,
        "\"\u{7f}\u{10ffff}\"",
        r#"{"":{"a":[1,{"b":[]}]}}"#,
    ] {
        serde_json::from_str::<Value>(text).unwrap();
        scan(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    }
}

#[test]
fn nesting_is_bounded_where_serde_json_bounds_it() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in 120..135 {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert_eq!(
                scan(&text).is_ok(),
                serde_json::from_str::<Value>(&text).is_ok(),
                "{depth}"
            );
        }
    }
}

#[test]
fn numbers_are_bounded_where_serde_json_bounds_them() {
    for digits in [199, 200, 201, 308, 309, 310, 400] {
        for text in [
            "9".repeat(digits),
            format!("-{}", "1".repeat(digits)),
            format!("0.{}", "9".repeat(digits)),
            format!("{}e99", "9".repeat(digits)),
            format!("1e{digits}"),
            format!("{}e-{digits}", "9".repeat(digits)),
        ] {
            assert_eq!(
                scan(&text).is_ok(),
                serde_json::from_str::<Value>(&text).is_ok(),
                "{text}"
            );
        }
    }
}

#[test]
fn strings_of_any_length_end_where_they_end() {
    for length in 0..70 {
        for end in ["", "\\n", "\\u0041", "é"] {
            let text = format!("\"{}{end}\"", "x".repeat(length));
            scan(&text).unwrap();
            let open = &text[..text.len() - 1];
            assert!(scan(open).is_err(), "{open}");
        }
    }
}

/// Texts made of pieces that mean something, so that they come close to JSON.
fn pieces() -> impl Strategy<Value = String> {
    const PIECES: [&str; 34] = [
        "{", "}", "[", "]", ":", ",", "\"", "\\", "\"a\"", "\"\\u00", "41\"", "\\ud83d", "\\ude00", "0", "1", "-", ".",
        "e", "E9", "99", "true", "false", "null", " ", "\n", "\t", "\"a\":1", "{\"a\":", "[1", ",2", "]}", "é",
        "\u{1}", "x",
    ];
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..12).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((".{0,20}", inner), 0..5).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn reads_exactly_what_serde_json_reads(text in pieces()) {
        prop_assert_eq!(scan(&text).is_ok(), serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
    }

    #[test]
    fn reads_every_value_and_damages_as_serde_json_does(
        value in value(), pretty in any::<bool>(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        prop_assert!(scan(&text).is_ok());
        let mut damaged = text.into_bytes();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        let read = Scanner::new(&damaged).and_then(|mut scanner| { scanner.skip()?; scanner.end() });
        prop_assert_eq!(read.is_ok(), serde_json::from_slice::<Value>(&damaged).is_ok());
    }

    #[test]
    fn decodes_strings_as_serde_json_does(text in ".{0,40}", escape in any::<bool>()) {
        let written = if escape {
            let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect::<String>();
            format!("\"{units}\"")
        } else {
            Value::from(text.clone()).to_string()
        };
        let mut scanner = Scanner::new(written.as_bytes()).unwrap();
        let read = scanner.text().unwrap().unwrap();
        prop_assert_eq!(&*read, text);
        prop_assert_eq!(read.span, 0..written.len());
    }
}

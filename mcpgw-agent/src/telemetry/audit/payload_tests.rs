use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::resources::JsonPath;

fn settings(redact: &[&str], max_bytes: usize) -> Payloads {
    Payloads {
        redact: redact.iter().map(|path| JsonPath::parse(path).unwrap()).collect(),
        max_bytes,
    }
}

/// What a line has of these arguments, as they were written.
fn of(arguments: &str, settings: &Payloads) -> Result<String, Omitted> {
    match Payload::of(Some(Part::of_body(arguments.as_bytes()).unwrap()), settings).unwrap() {
        Payload::Written(written) => Ok(written.get().to_owned()),
        Payload::Omitted(why) => Err(why),
    }
}

#[test]
fn what_a_rule_names_is_taken_out_and_the_rest_is_there() {
    let rules = settings(&["$.password", "$..token"], 4096);
    let written = of(
        r#"{"p\u0061ssword":"hunter2","path":"/a","deep":[{"token":{"x":[1]}}]}"#,
        &rules,
    );
    let written: Value = serde_json::from_str(&written.unwrap()).unwrap();
    assert_eq!(
        written,
        json!({"password": REDACTED, "path": "/a", "deep": [{"token": REDACTED}]})
    );
    assert!(Payload::of(None, &rules).is_none());
}

#[test]
fn what_can_be_read_in_two_ways_or_is_too_large_is_left_out_whole() {
    let rules = settings(&["$.a"], 20);
    assert_eq!(of(r#"{"b":{"a":1,"a":2}}"#, &rules), Err(Omitted::Ambiguous));
    assert_eq!(of(r#"{"b":"0123456789012"}"#, &rules), Err(Omitted::TooLarge));
    assert_eq!(
        of(r#"{"a":0,"b":[2,3,4]}"#, &rules),
        Err(Omitted::TooLarge),
        "once redacted"
    );
    assert_eq!(
        of(r#"{"b":"012345678901"}"#, &rules).unwrap(),
        r#"{"b":"012345678901"}"#
    );
}

#[test]
fn what_looks_like_a_token_is_never_there() {
    let nothing = settings(&[], 4096);
    let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln";
    for text in [
        token.to_owned(),
        format!("see {token}"),
        "Authorization: Bearer abcdefgh12".to_owned(),
        "basic dXNlcjpwYXNz".to_owned(),
    ] {
        for arguments in [json!({ "x": [text] }), json!({ "x": { &*text: 1 } })] {
            let written = of(&arguments.to_string(), &nothing).unwrap();
            assert!(!written.contains(&text), "{written}");
        }
    }
    let harmless = r#"{"x":"the bearer of bad news, eyJ, basic"}"#;
    assert_eq!(of(harmless, &nothing).unwrap(), harmless);
}

#[test]
fn arguments_stay_on_one_line() {
    let written = of(r#"{"x":"a\nb\u2028\u0000\u001b[2K"}"#, &settings(&[], 4096)).unwrap();
    assert!(!written.chars().any(|letter| letter.is_ascii_control()), "{written:?}");
}

/// A value in which some texts are secrets, with the path to each.
fn with_secret() -> impl Strategy<Value = (Value, Vec<Place>)> {
    let leaf = prop_oneof![
        Just(json!(1)),
        Just(Value::Null),
        "[a-z]{0,6}".prop_map(Value::from),
        Just(json!("SECRET")),
    ];
    let name = prop::sample::select(vec!["a", "b", "pass word", "ä", "q'\"", "0", "\\n"]);
    let tree = leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..4).prop_map(|members| {
                Value::Object(
                    members
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    });
    tree.prop_map(|mut value| {
        let (mut secrets, mut path) = (Vec::new(), Vec::new());
        number_secrets(&mut value, &mut path, &mut secrets);
        (value, secrets)
    })
}

type Place = (Vec<Towards>, String);

#[derive(Clone, Debug)]
enum Towards {
    Name(String),
    Index(usize),
}

/// Gives each secret a text of its own.
fn number_secrets(value: &mut Value, path: &mut Vec<Towards>, secrets: &mut Vec<Place>) {
    match value {
        Value::String(text) if text == "SECRET" => {
            *text = format!("SECRET-{}-", secrets.len());
            secrets.push((path.clone(), text.clone()));
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                path.push(Towards::Index(index));
                number_secrets(element, path, secrets);
                path.pop();
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                path.push(Towards::Name(name.clone()));
                number_secrets(member, path, secrets);
                path.pop();
            }
        }
        _ => {}
    }
}

/// A rule that names this place, in one of the ways to write it.
fn spelt(place: &[Towards], way: &[u8], descends_at: Option<usize>, from: usize) -> String {
    let mut rule = "$".to_owned();
    for (index, part) in place.iter().enumerate() {
        // What is above the descent may be left out.
        if descends_at.is_some_and(|at| (from..at).contains(&index)) {
            continue;
        }
        if descends_at == Some(index) {
            rule.push_str("..");
        }
        match (part, way.get(index).copied().unwrap_or_default() % 3) {
            (_, 0) => rule.push_str("[*]"),
            (Towards::Index(index), _) => rule.push_str(&format!("[{index}]")),
            (Towards::Name(name), 1) => {
                let escaped = name.replace('\\', "\\\\").replace('\'', "\\'");
                rule.push_str(&format!("['{escaped}']"));
            }
            (Towards::Name(name), _) => rule.push_str(&format!("[{}]", json!(name))),
        }
    }
    rule
}

proptest! {
    #[test]
    fn what_a_rule_names_never_appears(
        (value, secrets) in with_secret(), way in prop::collection::vec(any::<u8>(), 8),
        (descends, from) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()), is_deep in any::<bool>(),
    ) {
        for (place, secret) in &secrets {
            let at = (is_deep && !place.is_empty()).then(|| descends.index(place.len()));
            let from = at.map_or(0, |at| from.index(at + 1));
            let rule = spelt(place, &way, at, from);
            let written = of(&value.to_string(), &settings(&[&rule], 1 << 20)).unwrap();
            prop_assert!(!written.contains(secret.as_str()), "{} {}", rule, written);
            // The way by names alone leaves all other secrets where they are.
            let exact = spelt(place, &[1; 8], None, 0);
            let written = of(&value.to_string(), &settings(&[&exact], 1 << 20)).unwrap();
            for (_, other) in secrets.iter().filter(|(_, other)| other != secret) {
                prop_assert!(written.contains(other.as_str()), "{} {}", exact, written);
            }
        }
    }
}

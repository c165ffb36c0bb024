//! What a rule names is not in the audit log, nor is it after a second look. The input: a path, then the arguments.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpgw_agent::{
    mcp::part::Part,
    resources::{JsonPath, Payloads},
    telemetry::Payload,
};
use serde_json::Value;

const MAX_BYTES: usize = 4096;
/// What is taken out of every call, and what stands for it.
const NAMED: &str = "secret";
const REDACTED: &str = "[redacted]";

fn has_secret(value: &Value) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case(NAMED) && value != REDACTED || has_secret(value)),
        Value::Array(elements) => elements.iter().any(has_secret),
        _ => false,
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some((path, arguments)) = text.split_once('\n') else {
        return;
    };
    let all = JsonPath::parse(&format!("$..{NAMED}")).expect("a path");
    let settings = Payloads {
        redact: JsonPath::parse(path).into_iter().chain([all]).collect(),
        max_bytes: MAX_BYTES,
    };
    let written = |json: &str| match Payload::of(Part::of_body(json.as_bytes()).ok(), &settings) {
        Some(Payload::Written(written)) => Some(written.get().to_owned()),
        _ => None,
    };
    let Some(once) = written(arguments) else { return };
    assert!(once.len() <= MAX_BYTES);
    assert!(!has_secret(&serde_json::from_str(&once).expect("JSON")), "{once}");
    assert_eq!(written(&once).as_deref(), Some(&*once));
});

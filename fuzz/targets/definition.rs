//! A tool's definition is the same however its JSON is laid out, and another when something of it changes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpgw_agent::mcp::definition::Definition;
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let Ok(definition) = Definition::of_tool(input) else {
        return;
    };
    let digest = |json: &str| Definition::of_tool(json.as_bytes()).map(|definition| definition.digest());
    assert_eq!(
        digest(definition.json()),
        Ok(definition.digest()),
        "{}",
        definition.json()
    );
    let mut tool: Value = serde_json::from_slice(input).expect("an object");
    let spread = serde_json::to_string_pretty(&tool).expect("JSON");
    assert_eq!(digest(&spread), Ok(definition.digest()), "{spread}");
    let said = tool["description"].take();
    tool["description"] = format!("another than {said}").into();
    // It may be too large now.
    if let Ok(changed) = digest(&tool.to_string()) {
        assert_ne!(changed, definition.digest());
    }
});

//! What is read of a server's message is what a general parser reads, and lies where it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpgw_agent::mcp::{message::Peek, part::Part};
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let Ok(peek) = Peek::new(body) else { return };
    let lies = |part: &Part<'_>| assert_eq!(&body[part.span()], part.get().as_bytes());
    peek.id.iter().for_each(lies);
    let (params, result) = (peek.params(), peek.result());
    let _ = peek.error_code();
    if let Ok(params) = &params {
        [
            params.uri,
            params.progress_token,
            params.wanted_progress,
            params.request_id,
            params.task_id,
        ]
        .iter()
        .chain(&[params.subscription_id, params.related_task])
        .flatten()
        .for_each(lies);
    }
    // It takes deeper nesting and larger numbers than a general parser, which then has no opinion.
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    assert_eq!(peek.method.as_deref(), value["method"].as_str());
    if let Ok(Some(result)) = &result {
        [Some(result.whole), result.task_id, result.related_task]
            .iter()
            .flatten()
            .for_each(lies);
        assert_eq!(result.is_error, value["result"]["isError"] == true);
        if let Some(members) = result.members {
            assert_eq!(
                members.empty,
                value["result"].as_object().expect("an object").is_empty()
            );
            let comma = if members.empty { "" } else { "," };
            let inserted = [&body[..members.at], b"\"\0\":1", comma.as_bytes(), &body[members.at..]].concat();
            // The key is one that no valid JSON has.
            let inserted = String::from_utf8(inserted).expect("UTF-8").replace('\0', "mcpgw-fuzz");
            let inserted: Value = serde_json::from_str(&inserted).expect("JSON with a member more");
            // libFuzzer learns the key, too: then the body's own comes last, and counts.
            let own = value["result"].get("mcpgw-fuzz");
            assert_eq!(inserted["result"]["mcpgw-fuzz"], *own.unwrap_or(&Value::from(1)));
        }
    }
});

//! Too much of anything, and anything at all.

use proptest::prelude::*;

use super::*;

#[test]
fn what_is_over_a_bound_is_refused() {
    let long = problems(&" ".repeat(bounds::MAX_FILE_BYTES + 1));
    assert_eq!(long, ["r.yaml: is 1048577 bytes long; at most 1048576 are read"]);
    let documents = problems(&"---\na: 1\n".repeat(bounds::MAX_DOCUMENTS + 1));
    assert!(
        documents.iter().any(|line| line.contains("more than 4096 documents")),
        "{documents:?}"
    );
    assert_eq!(documents.len(), bounds::MAX_PROBLEMS + 1);
    let deep = problems(&"[".repeat(10_000));
    assert!(deep[0].contains("not valid YAML"), "{deep:?}");
    let many: Vec<String> = (0..=bounds::MAX_ADDRESSES)
        .map(|n| format!("\"10.0.0.1:{}\"", n + 1))
        .collect();
    let addresses = problems(&document(
        "MCPServer",
        &format!("{{backend: {{addresses: [{}]}}}}", many.join(", ")),
    ));
    assert!(
        addresses[0].contains("has 257 entries; at most 256 are allowed"),
        "{addresses:?}"
    );
    let glob = "a".repeat(bounds::MAX_GLOB_BYTES + 1);
    let globs = problems(&document(
        "MCPPolicy",
        &format!("{{rules: [{{action: Deny, tools: [{glob}]}}]}}"),
    ));
    assert!(globs[0].contains("is 257 bytes long"), "{globs:?}");
}

#[test]
fn aliases_cannot_blow_a_document_up() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        let aliases = vec![format!("*a{}", n - 1); 9].join(", ");
        text += &format!("a{n}: &a{n} [{aliases}]\n");
    }
    assert!(problems(&text)[0].contains("not valid YAML"));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*") {
        let _ = parse_one(&text);
    }

    #[test]
    fn arbitrary_edits_of_a_valid_file_never_panic(start in 0..FULL.len(), length in 0..40usize, insert in "[\\x00-\\x7f]{0,8}") {
        let mut text = FULL.to_owned();
        text.replace_range(start..(start + length).min(FULL.len()), &insert);
        let _ = parse_one(&text);
    }

    #[test]
    fn arbitrary_values_of_a_spec_never_panic(value in "\\PC{0,40}") {
        for kind in ["MCPServer", "Workload", "MCPPolicy", "MCPCatalog", "ClusterMCPSettings"] {
            let _ = parse_one(&document(kind, &value));
        }
    }
}

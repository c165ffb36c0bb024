//! What is known and not supported yet.

use super::*;

#[test]
fn what_the_design_names_and_nothing_implements_is_not_called_unknown() {
    let table: &[(&str, &str, &str, &[&str])] = &[
        (
            "MCPServer",
            "{backend: {addresses: [\"10.0.0.5:1\"], LATER: 1}}",
            "spec.backend",
            &["service"],
        ),
        (
            "MCPServer",
            "{backend: {addresses: [\"10.0.0.5:1\"]}, tls: {LATER: 1}}",
            "spec.tls",
            &["caSecretRef", "clientCertificate"],
        ),
        (
            "MCPServer",
            "{backend: {addresses: [\"10.0.0.5:1\"]}, clientTLS: {mode: Refuse, LATER: 1}}",
            "spec.clientTLS",
            &["secretRef"],
        ),
        ("MCPCatalog", "{servers: [], LATER: 1}", "spec", &["selector"]),
        (
            "MCPCatalog",
            "{servers: [{LATER: 1}]}",
            "spec.servers[0]",
            &["prompts", "resources"],
        ),
        (
            "ClusterMCPSettings",
            "{gateway: {tls: {LATER: 1}}}",
            "spec.gateway.tls",
            &["secretRef"],
        ),
        ("ClusterMCPSettings", "{LATER: 1}", "spec", &["sessionKeys"]),
    ];
    for (kind, spec, path, fields) in table {
        for field in *fields {
            let found = parse_one(&document(kind, &spec.replace("LATER", field))).expect_err(field);
            let expected = format!("{path}.{field}");
            let about = |problem: &&Problem| problem.field == expected;
            let problem = found.list().iter().find(about).unwrap_or_else(|| panic!("{found}"));
            assert_eq!(problem.reason, "not supported yet");
        }
        let found = problems(&document(kind, &spec.replace("LATER", "nonsense")));
        let unknown = format!("{path}: unknown field \"nonsense\"; known here: ");
        assert!(found.iter().any(|line| line.contains(&unknown)), "{found:?}");
    }
}

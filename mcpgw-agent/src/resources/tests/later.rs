//! What is known and not supported yet.

use super::*;

#[test]
fn what_the_design_names_and_nothing_implements_is_not_called_unknown() {
    let server = "{backend: {addresses: [\"10.0.0.5:1\"]}, LATER: 1}";
    let policy = "{rules: [{action: Deny}], LATER: 1}";
    let rule = "{rules: [{action: Deny, LATER: 1}]}";
    let caller = "{rules: [{action: Deny, from: [{namespaces: [a], LATER: 1}]}]}";
    let table: &[(&str, &str, &str, &[&str])] = &[
        (
            "MCPServer",
            server,
            "spec",
            &[
                "transport",
                "prefix",
                "tls",
                "clientTLS",
                "credential",
                "timeouts",
                "pin",
                "trustAnnotations",
                "otherPaths",
                "exposeTo",
                "capture",
            ],
        ),
        (
            "MCPServer",
            "{backend: {addresses: [\"10.0.0.5:1\"], LATER: 1}}",
            "spec.backend",
            &["service", "host"],
        ),
        (
            "MCPPolicy",
            policy,
            "spec",
            &["selector", "authentication", "limits", "audit", "enforcement"],
        ),
        (
            "MCPPolicy",
            rule,
            "spec.rules[0]",
            &["methods", "prompts", "resources", "when"],
        ),
        ("MCPPolicy", caller, "spec.rules[0].from[0]", &["groups", "claims"]),
        (
            "ClusterMCPSettings",
            "{LATER: 1}",
            "spec",
            &[
                "publicURL",
                "gateway",
                "issuers",
                "extAuthz",
                "rateLimitService",
                "audit",
                "externalBackends",
                "sessionKeys",
            ],
        ),
    ];
    for (kind, spec, path, fields) in table {
        for field in *fields {
            let found = parse_one(&document(kind, &spec.replace("LATER", field))).expect_err(field);
            let [problem] = found.list() else { panic!("{found}") };
            assert_eq!(
                (problem.field.as_str(), problem.reason.as_str()),
                (format!("{path}.{field}").as_str(), "not supported yet")
            );
        }
        let found = problems(&document(kind, &spec.replace("LATER", "nonsense")));
        assert!(
            found.len() == 1 && found[0].contains("unknown field \"nonsense\""),
            "{found:?}"
        );
    }
    for kind in ["MCPCatalog", "ClusterMCPPolicy"] {
        assert_eq!(
            problems(&document(kind, "{}")),
            [format!("r.yaml:2:7: kind: {kind} is not supported yet")]
        );
    }
}

//! Rules that could never match: what else they say, their policy's reach or the settings exclude it.

use super::{
    policies::{ISSUER, policy, wrong},
    *,
};

#[test]
fn a_condition_that_the_rest_of_its_rule_excludes_is_refused() {
    for (rule, needs) in [
        (
            "tools: [\"get_*\"], when: \"mcp.tool == 'set_all'\"",
            "mcp.tool would have to be \"set_all\"",
        ),
        (
            "tools: [a], prompts: [b], when: \"mcp.tool == 'a' && mcp.prompt == 'b'\"",
            "mcp.tool would have to be \"a\" and mcp.prompt would have to be \"b\"",
        ),
        (
            "annotations: {destructive: true}, when: \"mcp.method == 'prompts/get'\"",
            "mcp.method would have to be \"prompts/get\"",
        ),
        (
            "methods: [prompts/get], when: \"mcp.method in ['tools/call', 'resources/read']\"",
            "mcp.method would have to be one of [\"tools/call\", \"resources/read\"]",
        ),
        (
            "tools: [a], when: \"mcp.method == 'prompts/get'\"",
            "mcp.method would have to be \"prompts/get\"",
        ),
        (
            "when: \"mcp.method == 'tools/list'\"",
            "mcp.method would have to be \"tools/list\"",
        ),
        (
            "methods: [tools/call], when: \"'a' == mcp.tool && mcp.method == 'acme/do'\"",
            "mcp.method would have to be \"acme/do\"",
        ),
        (
            "from: [{namespaces: [b]}], when: \"identity.namespace == 'a' && mcp.tool == 'x'\"",
            "identity.namespace would have to be \"a\"",
        ),
        (
            "from: [{serviceAccounts: [a/y, b/x]}], when: \"identity.namespace == 'a' && identity.serviceAccount == 'x'\"",
            "identity.namespace would have to be \"a\" and identity.serviceAccount would have to be \"x\"",
        ),
        (
            "from: [{namespaces: [b]}], when: \"identity.principal == 'system:serviceaccount:a:x'\"",
            "identity.principal would have to be \"system:serviceaccount:a:x\"",
        ),
        (
            "from: [{namespaces: [b]}], when: \"identity.principal == 'https://issuer.example#alice'\"",
            "identity.principal would have to be \"https://issuer.example#alice\"",
        ),
    ] {
        let found = wrong(&format!("{{action: Deny, {rule}}}"));
        let problem = format!("spec.rules[0].when: can never match: {needs}, and the rule is not about that");
        assert_eq!(found, [problem], "{rule}");
    }
    for rule in [
        "tools: [\"get_*\"], when: \"mcp.tool == 'get_all' || mcp.tool == 'set_all'\"",
        "tools: [a], prompts: [b], when: \"mcp.tool == '' && mcp.prompt == 'b'\"",
        "when: \"mcp.method == 'acme/do'\"",
        "when: \"mcp.method == 'tasks/acme'\"",
        "methods: [\"acme/*\"], when: \"mcp.method == 'acme/do' && mcp.server == 'tools/calc'\"",
        "methods: [completion/complete], resources: [\"*\"], when: \"mcp.method == 'completion/complete'\"",
        "from: [{namespaces: [b]}, {serviceAccounts: [a/x]}], when: \"identity.namespace == 'a' && identity.serviceAccount == 'x'\"",
        "from: [{namespaces: [b]}], when: \"identity.principal == 'system:serviceaccount:b:x'\"",
        "when: \"identity.principal == 'https://issuer.example#alice' || identity.namespace == ''\"",
    ] {
        let spec = format!("{{rules: [{{action: Deny, {rule}}}]}}");
        assert!(
            policy(&spec).is_ok(),
            "{rule}: {:?}",
            policy(&spec).err().map(|found| found.lines())
        );
    }
}

#[test]
fn a_condition_about_a_server_that_the_policy_cannot_govern_is_refused() {
    let rules = |server: &str| format!("rules: [{{action: Deny, when: \"mcp.server == '{server}'\"}}]");
    let problem = "and the policy governs no server of that name";
    for server in ["calc", "others/calc", "tools/", "tools/Calc", ""] {
        let found = problems(&document("MCPPolicy", &format!("{{{}}}", rules(server))));
        assert!(found.len() == 1 && found[0].contains(problem), "{server}: {found:?}");
    }
    // It may come.
    assert!(policy(&format!("{{{}}}", rules("tools/calc"))).is_ok());
    let with = |server: &str| {
        let targets = format!("{{targetRefs: [{{kind: MCPServer, name: calc}}], {}}}", rules(server));
        parse_one(&(document("MCPPolicy", &targets) + &self::server("calc, namespace: tools", "10.0.0.1:1")))
    };
    assert!(with("tools/calc").is_ok());
    assert!(with("tools/other").unwrap_err().lines()[0].contains(problem));
    let cluster = |server: &str| {
        let spec = format!("{{selector: {{namespaces: [a, b]}}, {}}}", rules(server));
        parse_one(&document("ClusterMCPPolicy", &spec))
    };
    assert!(cluster("b/calc").is_ok());
    assert!(cluster("c/calc").unwrap_err().lines()[0].contains(problem));
}

#[test]
fn a_rule_about_what_tokens_say_needs_somebody_whose_tokens_are_believed() {
    for (rule, problem) in [
        (
            "from: [{namespaces: [a]}, {groups: [staff]}]",
            "spec.rules[0].from[1]: groups and claims need spec.issuers of ClusterMCPSettings: without any, no token \
             tells them",
        ),
        (
            "from: [{claims: {role: admin}}]",
            "spec.rules[0].from[0]: groups and claims need spec.issuers of ClusterMCPSettings: without any, no token \
             tells them",
        ),
        (
            "when: \"jwt.claims.role == 'admin'\"",
            "spec.rules[0].when: jwt.claims needs spec.issuers of ClusterMCPSettings: without any, no token tells them",
        ),
    ] {
        for action in ["Allow", "Deny"] {
            let rule = format!("{{action: {action}, {rule}}}");
            assert_eq!(wrong(&rule), [problem], "{rule}");
            let text = document("MCPPolicy", &format!("{{rules: [{rule}]}}")) + ISSUER;
            assert!(
                parse_one(&text).is_ok(),
                "{rule}: {:?}",
                parse_one(&text).err().map(|found| found.lines())
            );
        }
    }
}

#[test]
fn a_limit_by_what_tokens_say_needs_somebody_whose_tokens_are_believed() {
    let problem = "spec.limits[1].key[1]: a claim in a key needs spec.issuers of ClusterMCPSettings: without any, no \
                   token tells them";
    for how_much in ["requests: 5, per: 1m", "concurrency: 3"] {
        let limits = format!(
            "{{limits: [{{{how_much}, scope: Node}}, {{{how_much}, key: [identity, \"claim:team\"], scope: Node}}]}}"
        );
        for kind in ["MCPPolicy", "ClusterMCPPolicy"] {
            let text = document(kind, &limits);
            let found = parse_one(&text).unwrap_err().lines();
            assert!(found.len() == 1 && found[0].contains(problem), "{found:?}");
            assert!(found[0].starts_with("r.yaml:4:"), "the file and the line: {found:?}");
            assert!(parse_one(&(text + ISSUER)).is_ok(), "{limits}");
        }
    }
}

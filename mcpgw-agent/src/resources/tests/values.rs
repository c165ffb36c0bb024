//! Every value that is refused.

use super::*;

/// (kind, spec, field, part of the reason)
const SPECS: &[(&str, &str, &str, &str)] = &[
    (
        "MCPServer",
        "{backend: {addresses: [10.0.0.5]}}",
        "spec.backend.addresses[0]",
        r#""10.0.0.5" has no port; write it as "10.0.0.5:8080""#,
    ),
    (
        "MCPServer",
        "{backend: {addresses: [\"fd00::5\"]}}",
        "spec.backend.addresses[0]",
        r#"write it as "[fd00::5]:8080""#,
    ),
    (
        "MCPServer",
        "{backend: {addresses: [\"calc.tools:80\"]}}",
        "spec.backend.addresses[0]",
        "a server with a name has backend.host",
    ),
    (
        "MCPServer",
        "{backend: {addresses: [\"10.0.0.5:99999\"]}}",
        "spec.backend.addresses[0]",
        "not of the form ip:port",
    ),
    (
        "MCPServer",
        "{backend: {addresses: [\"10.0.0.5:0\"]}}",
        "spec.backend.addresses[0]",
        "has port 0",
    ),
    (
        "MCPServer",
        "{backend: {addresses: [\"10.0.0.5:1\", \"[::ffff:10.0.0.5]:1\"]}}",
        "spec.backend.addresses[1]",
        "10.0.0.5:1 is listed twice",
    ),
    (
        "MCPServer",
        "{backend: {addresses: []}}",
        "spec.backend.addresses",
        "must not be empty",
    ),
    (
        "MCPServer",
        "{backend: {addresses: 7}}",
        "spec.backend.addresses",
        "must be a list, but is a number",
    ),
    (
        "MCPServer",
        "{backend: {addresses: [7]}}",
        "spec.backend.addresses[0]",
        "must be a string, but is a number; put it in quotes",
    ),
    (
        "MCPServer",
        "{backend: {}}",
        "spec.backend",
        "must have one of: addresses, host",
    ),
    ("MCPServer", "{}", "spec.backend", "is required"),
    ("MCPServer", "[]", "spec", "must be a mapping, but is a list"),
    ("MCPServer", "", "spec", "is required"),
    (
        "MCPServer",
        "{backend: {addresses: [\"10.0.0.5:1\"]}, path: mcp}",
        "spec.path",
        "does not begin with \"/\"",
    ),
    (
        "MCPServer",
        "{backend: {addresses: [\"10.0.0.5:1\"]}, path: /a%2Fb}",
        "spec.path",
        "has a '%'",
    ),
    (
        "MCPServer",
        "{backend: {addresses: [\"10.0.0.5:1\"]}, path: /a/../b}",
        "spec.path",
        "\"..\" segment",
    ),
    (
        "MCPServer",
        "{backend: {addresses: [\"10.0.0.5:1\"]}, path: /a//b}",
        "spec.path",
        "empty segment",
    ),
    (
        "MCPServer",
        "{backend: {addresses: [\"10.0.0.5:1\"]}, path: /a/}",
        "spec.path",
        "write it as \"/a\"",
    ),
    (
        "Workload",
        "{cgroup: /a, mode: audit}",
        "spec.mode",
        "\"audit\" is not one of enforce, observe, off",
    ),
    (
        "Workload",
        "{cgroup: /a, mode: true}",
        "spec.mode",
        "must be a string, but is a boolean",
    ),
    ("Workload", "{cgroup: /a}", "spec.mode", "is required"),
    ("Workload", "{mode: off}", "spec.cgroup", "is required"),
    ("Workload", "{mode: off, cgroup: /}", "spec.cgroup", "root cgroup"),
    (
        "Workload",
        "{mode: off, cgroup: /sys/fs/cgroup/a}",
        "spec.cgroup",
        "below the cgroup v2 mount",
    ),
    (
        "Workload",
        "{mode: off, cgroup: a/b}",
        "spec.cgroup",
        "begins with \"/\"",
    ),
    (
        "Workload",
        "{mode: off, cgroup: /a/../b}",
        "spec.cgroup",
        "\"..\" segment",
    ),
    (
        "Workload",
        "{mode: off, cgroup: /a/}",
        "spec.cgroup",
        "write it as \"/a\"",
    ),
    ("Workload", "{mode: off, cgroup: \"/a\\0\"}", "spec.cgroup", "NUL"),
    (
        "Workload",
        "{mode: off, cgroup: /a, serviceAccount: A_b}",
        "spec.serviceAccount",
        "not a valid name",
    ),
    (
        "Workload",
        "{mode: off, cgroup: /a, networkNamespace: /run/netns/a}",
        "spec.networkNamespace",
        "must be a mapping, but is a string: write {path: \"/run/netns/a\"}",
    ),
    (
        "Workload",
        "{mode: off, cgroup: /a, networkNamespace: {}}",
        "spec.networkNamespace",
        "must have one of: path, ofCgroup",
    ),
    (
        "Workload",
        "{mode: off, cgroup: /a, networkNamespace: {path: /n, ofCgroup: {}}}",
        "spec.networkNamespace",
        "must have one of",
    ),
    (
        "Workload",
        "{mode: off, cgroup: /a, networkNamespace: {path: n}}",
        "spec.networkNamespace.path",
        "begins with \"/\"",
    ),
    (
        "Workload",
        "{mode: off, cgroup: /a, networkNamespace: {ofCgroup: {a: b}}}",
        "spec.networkNamespace.ofCgroup",
        "unknown field \"a\"",
    ),
    ("MCPPolicy", "{}", "spec.rules", "is required"),
    (
        "MCPPolicy",
        "{rules: []}",
        "spec.rules",
        "write one rule: {action: Deny}",
    ),
    ("MCPPolicy", "{rules: [{}]}", "spec.rules[0].action", "is required"),
    (
        "MCPPolicy",
        "{rules: [{action: allow}]}",
        "spec.rules[0].action",
        "\"allow\" is not one of Allow, Deny",
    ),
    (
        "MCPPolicy",
        "{rules: [{action: Deny, tools: []}]}",
        "spec.rules[0].tools",
        "leave tools out to mean every tool",
    ),
    (
        "MCPPolicy",
        "{rules: [{action: Deny, tools: [\"\"]}]}",
        "spec.rules[0].tools[0]",
        "must not be empty",
    ),
    (
        "MCPPolicy",
        "{rules: [{action: Deny, tools: [\"a[\"]}]}",
        "spec.rules[0].tools[0]",
        "not a valid glob",
    ),
    (
        "MCPPolicy",
        "{rules: [{action: Deny, from: []}]}",
        "spec.rules[0].from",
        "to mean everyone",
    ),
    (
        "MCPPolicy",
        "{rules: [{action: Deny, from: [{}]}]}",
        "spec.rules[0].from[0]",
        "must name namespaces, serviceAccounts, groups or claims",
    ),
    (
        "MCPPolicy",
        "{rules: [{action: Deny, from: [{namespaces: [A]}]}]}",
        "spec.rules[0].from[0].namespaces[0]",
        "not a valid namespace",
    ),
    (
        "MCPPolicy",
        "{rules: [{action: Deny, from: [{serviceAccounts: [a]}]}]}",
        "spec.rules[0].from[0].serviceAccounts[0]",
        "has no namespace",
    ),
    (
        "MCPPolicy",
        "{rules: [{action: Deny, from: [{serviceAccounts: [a/b/c]}]}]}",
        "spec.rules[0].from[0].serviceAccounts[0]",
        "not of the form namespace/name",
    ),
    (
        "MCPPolicy",
        "{rules: [{action: Deny}], targetRefs: []}",
        "spec.targetRefs",
        "leave targetRefs out",
    ),
    (
        "MCPPolicy",
        "{rules: [{action: Deny}], targetRefs: [{name: y}]}",
        "spec.targetRefs[0].kind",
        "is required",
    ),
    (
        "MCPPolicy",
        "{rules: [{action: Deny}], targetRefs: [{kind: MCPCatalog, name: y}]}",
        "spec.targetRefs[0].kind",
        "not supported yet",
    ),
    (
        "MCPPolicy",
        "{rules: [{action: Deny}], targetRefs: [{kind: MCPServer, name: y}]}",
        "spec.targetRefs[0].name",
        "there is no MCPServer tools/y",
    ),
    (
        "ClusterMCPSettings",
        "{unknownWorkloads: Drop}",
        "spec.unknownWorkloads",
        "\"Drop\" is not one of Refuse, Pass",
    ),
];

#[test]
fn every_bad_value_is_refused_with_its_field_and_a_reason() {
    for (kind, spec, field, reason) in SPECS {
        let found = parse_one(&document(kind, spec)).expect_err(spec);
        let [problem] = found.list() else {
            panic!("{spec}: {found}")
        };
        assert_eq!(&problem.field, field, "{spec}: {found}");
        assert!(problem.reason.contains(reason), "{spec}: {found}");
        assert!(problem.line > 0 && problem.column > 0, "{spec}: {found}");
    }
}

#[test]
fn addresses_that_no_server_may_have_are_refused() {
    for address in [
        "127.0.0.1:80",
        "127.8.0.1:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]:80",
        "0.0.0.0:80",
        "0.1.2.3:80",
        "[::]:80",
        "169.254.169.254:80",
        "[fe80::1]:80",
        "[::ffff:169.254.0.1]:80",
        "224.0.0.1:80",
        "[ff02::1]:80",
        "255.255.255.255:80",
    ] {
        let found = problems(&document(
            "MCPServer",
            &format!("{{backend: {{addresses: [\"{address}\"]}}}}"),
        ));
        assert_eq!(found.len(), 1, "{address}");
        assert!(found[0].contains("AddressNotAllowed"), "{address}: {}", found[0]);
    }
}

#[test]
fn a_glob_that_yaml_takes_for_an_alias_is_said_to_need_quotes() {
    let table = [
        ("tools: [*]", "1:9", "\"*\""),
        ("tools: [a, *_read]", "1:12", "\"*_read\""),
        ("tools:\n- *", "2:3", "\"*\""),
        ("tools: [*a, b]", "1:9", "\"*a\""),
        ("é: {tools: *x*}", "1:12", "\"*x*\""),
    ];
    for (text, place, quoted) in table {
        let found = problems(text);
        assert!(
            found[0].starts_with(&format!("r.yaml:{place}: not valid YAML: ")),
            "{found:?}"
        );
        let hint = format!("; a text that begins with \"*\" needs quotes, for in YAML that begins an alias: {quoted}");
        assert!(found[0].ends_with(&hint), "{text}: {found:?}");
    }
    // Another trouble is not explained by it.
    let found = problems("tools: [\"*\"");
    assert!(!found[0].contains("needs quotes"), "{found:?}");
}

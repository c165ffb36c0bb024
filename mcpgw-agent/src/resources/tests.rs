use std::path::Path;

use proptest::prelude::*;

use super::*;

fn parse_one(text: &str) -> Result<Desired, Problems> {
    parse(&[SourceText {
        name: "r.yaml".into(),
        text: text.to_owned(),
    }])
}

/// The messages about `text`, which must not be valid.
fn problems(text: &str) -> Vec<String> {
    parse_one(text).expect_err("should have been refused").lines()
}

fn document(kind: &str, spec: &str) -> String {
    let namespace = if kind.starts_with("Cluster") {
        ""
    } else {
        ", namespace: tools"
    };
    let name = if kind.starts_with("Cluster") { "default" } else { "x" };
    format!("apiVersion: mcpgw.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}{namespace}}}\nspec: {spec}\n")
}

fn server(name: &str, address: &str) -> String {
    format!(
        "---\napiVersion: mcpgw.dev/v1alpha1\nkind: MCPServer\nmetadata: {{name: {name}}}\nspec: {{backend: {{addresses: [\"{address}\"]}}}}\n"
    )
}

fn workload(name: &str, cgroup: &str) -> String {
    format!(
        "---\napiVersion: mcpgw.dev/v1alpha1\nkind: Workload\nmetadata: {{name: {name}}}\nspec: {{cgroup: {cgroup}, mode: off}}\n"
    )
}

const FULL: &str = r#"
apiVersion: mcpgw.dev/v1alpha1
kind: MCPServer
metadata: {name: calculator, namespace: tools}
spec:
  path: /v1/mcp
  backend:
    addresses: ["10.0.0.5:8080", "[fd00::5]:8080", "[::ffff:10.0.0.6]:80"]
---
# An empty document says nothing.
---
apiVersion: mcpgw.dev/v1alpha1
kind: Workload
metadata: {name: researcher, namespace: agents}
spec:
  serviceAccount: reader
  cgroup: /agents/researcher
  networkNamespace: {path: /run/netns/researcher}
  mode: enforce
---
apiVersion: mcpgw.dev/v1alpha1
kind: Workload
metadata: {name: idle}
spec: {cgroup: /agents/idle, mode: off}
---
apiVersion: mcpgw.dev/v1alpha1
kind: MCPPolicy
metadata: {name: read-only, namespace: tools}
spec:
  targetRefs: [{kind: MCPServer, name: calculator}]
  rules:
  - action: Allow
    from: [{namespaces: [agents], serviceAccounts: [agents/reader]}]
    tools: ["get_*"]
  - {action: Deny, tools: [get_secret]}
---
apiVersion: mcpgw.dev/v1alpha1
kind: ClusterMCPSettings
metadata: {name: default}
spec: {unknownWorkloads: Refuse}
"#;

#[test]
fn every_field_of_every_kind_arrives() {
    let desired = parse_one(FULL).unwrap();
    assert_eq!(desired.generation, 1);
    assert_eq!(desired.settings.unknown_workloads, UnknownWorkloads::Refuse);
    let server = &desired.servers[0];
    assert_eq!(
        (server.name.to_string(), &*server.path),
        ("tools/calculator".to_owned(), "/v1/mcp")
    );
    let addresses: Vec<String> = server.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.5:8080", "[fd00::5]:8080", "10.0.0.6:80"]);
    let [researcher, idle] = &*desired.workloads else {
        panic!("{:?}", desired.workloads)
    };
    assert_eq!(
        (researcher.name.to_string(), &*researcher.service_account),
        ("agents/researcher".to_owned(), "reader")
    );
    assert_eq!(researcher.cgroup, Path::new("/agents/researcher"));
    assert_eq!(
        researcher.network_namespace,
        NetworkNamespace::Path("/run/netns/researcher".into())
    );
    assert_eq!(researcher.mode, Mode::Enforce);
    assert_eq!(
        (idle.name.to_string(), &*idle.service_account),
        ("default/idle".to_owned(), "default")
    );
    assert_eq!(
        (&idle.network_namespace, idle.mode),
        (&NetworkNamespace::OfCgroup, Mode::Off)
    );
    let policy = &desired.policies[0];
    assert_eq!(policy.targets, ["calculator".into()]);
    assert_eq!(policy.rules[0].action, Action::Allow);
    assert_eq!(policy.rules[0].from[0].service_accounts[0].to_string(), "agents/reader");
    assert_eq!(policy.rules[0].tools, ["get_*"]);
    assert_eq!(
        policy.rules[1],
        Rule {
            action: Action::Deny,
            from: vec![],
            tools: vec!["get_secret".into()]
        }
    );
}

#[test]
fn nothing_at_all_is_valid_and_desires_nothing() {
    assert_eq!(
        parse(&[]).unwrap(),
        Desired {
            generation: 1,
            ..Desired::default()
        }
    );
    assert_eq!(parse_one("# only a comment\n---\n").unwrap().servers.len(), 0);
}

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
        "names are not resolved here",
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
    ("MCPServer", "{backend: {}}", "spec.backend.addresses", "is required"),
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
        "{cgroup: /a, mode: observe}",
        "spec.mode",
        "\"observe\" is not supported yet",
    ),
    (
        "Workload",
        "{cgroup: /a, mode: audit}",
        "spec.mode",
        "\"audit\" is not one of enforce, off",
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
        "must name namespaces or serviceAccounts",
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

#[test]
fn the_envelope_is_checked() {
    let table = [
        ("[]", "r.yaml:1:1: must be a mapping, but is a list"),
        ("kind: MCPServer", "apiVersion: is required"),
        (
            "apiVersion: v1\nkind: MCPServer",
            "apiVersion: \"v1\" is not supported; write \"mcpgw.dev/v1alpha1\"",
        ),
        ("apiVersion: mcpgw.dev/v1alpha1", "r.yaml:1:1: kind: is required"),
        (
            "apiVersion: mcpgw.dev/v1alpha1\nkind: Pod",
            "r.yaml:2:7: kind: unknown kind \"Pod\"; known: MCPServer",
        ),
        (
            "kind: MCPServer\nstatus: {}",
            "unknown field \"status\"; known here: apiVersion, kind, metadata, spec",
        ),
        (
            "kind: MCPServer\nmetadata: {name: A}",
            "MCPServer default/A: metadata.name: \"A\" is not a valid name",
        ),
        (
            "kind: MCPServer\nmetadata: {name: a, labels: {}}",
            "metadata.labels: not supported yet",
        ),
        (
            "kind: MCPServer\nmetadata: {name: a, namespace: a.b}",
            "metadata.namespace: \"a.b\" is not a valid namespace",
        ),
        (
            "kind: ClusterMCPSettings\nmetadata: {name: a}",
            "metadata.name: \"a\" is not \"default\"",
        ),
        (
            "kind: ClusterMCPSettings\nmetadata: {name: default, namespace: a}",
            "leave the namespace out",
        ),
        (
            "kind: MCPServer\nmetadata: {1: a}",
            "a field's name must be a string, not a number",
        ),
    ];
    for (text, message) in table {
        let found = problems(text);
        assert!(found.iter().any(|line| line.contains(message)), "{text}: {found:#?}");
    }
}

#[test]
fn a_message_reads_well() {
    let text = document("MCPServer", "\n  backend:\n    addresses:\n    - 10.0.0.5");
    let expected = r#"r.yaml:7:7: MCPServer tools/x: spec.backend.addresses[0]: "10.0.0.5" has no port; write it as "10.0.0.5:8080""#;
    assert_eq!(problems(&text), [expected]);
}

#[test]
fn everything_wrong_is_reported_in_order() {
    let text = document(
        "MCPServer",
        "\n  path: mcp\n  oops: 1\n  backend: {addresses: [nonsense, \"127.0.0.1:1\"]}",
    );
    let found = parse_one(&format!("{text}---\n{}", document("Workload", "{mode: observe}"))).unwrap_err();
    let places: Vec<(u64, &str)> = found
        .list()
        .iter()
        .map(|problem| (problem.line, &*problem.field))
        .collect();
    let addresses = ["spec.backend.addresses[0]", "spec.backend.addresses[1]"];
    let expected = [
        (5, "spec.path"),
        (6, "spec"),
        (7, addresses[0]),
        (7, addresses[1]),
        (12, "spec.cgroup"),
        (12, "spec.mode"),
    ];
    assert_eq!(places, expected);
}

#[test]
fn resources_that_conflict_are_refused_naming_the_other() {
    let table = [
        (
            server("a", "10.0.0.1:1") + &server("a", "10.0.0.2:1"),
            "MCPServer default/a: metadata.name: this name is already used at r.yaml:4",
        ),
        (
            server("a", "10.0.0.1:1") + &server("b", "10.0.0.1:1"),
            "MCPServer default/b: spec.backend.addresses[0]: AddressConflict: 10.0.0.1:1 already belongs to MCPServer default/a (r.yaml:5)",
        ),
        (
            workload("a", "/x") + &workload("b", "/x"),
            "Workload default/b: spec.cgroup: already the cgroup of Workload default/a (r.yaml:5)",
        ),
        (
            workload("a", "/x/y/z") + &workload("b", "/x"),
            "Workload default/a: spec.cgroup: lies inside /x, the cgroup of Workload default/b (r.yaml:10)",
        ),
    ];
    for (text, message) in table {
        let found = problems(&text);
        assert!(found.len() == 1 && found[0].contains(message), "{found:#?}");
    }
}

#[test]
fn a_sibling_with_a_longer_name_is_no_child() {
    assert_eq!(
        parse_one(&(workload("a", "/x/y") + &workload("b", "/x/yz")))
            .unwrap()
            .workloads
            .len(),
        2
    );
}

#[test]
fn a_server_that_is_wrong_is_still_there_for_its_policies() {
    let policy = document(
        "MCPPolicy",
        "{rules: [{action: Deny}], targetRefs: [{kind: MCPServer, name: x}]}",
    );
    let found = problems(&format!("{}---\n{policy}", document("MCPServer", "{}")));
    assert!(
        found.len() == 1 && found[0].contains("spec.backend: is required"),
        "{found:?}"
    );
}

#[test]
fn the_same_name_in_two_files_is_a_duplicate() {
    let file = |name: &str, address| SourceText {
        name: name.into(),
        text: server("a", address),
    };
    let found = parse(&[file("a.yaml", "10.0.0.1:1"), file("b.yaml", "10.0.0.2:1")])
        .unwrap_err()
        .lines();
    assert_eq!(
        found,
        ["b.yaml:4:18: MCPServer default/a: metadata.name: this name is already used at a.yaml:4"]
    );
}

#[test]
fn yaml_errors_have_a_place_and_hide_no_other_file() {
    let bad = SourceText {
        name: "a.yaml".into(),
        text: "kind: [\nspec: }".to_owned(),
    };
    let wrong = SourceText {
        name: "b.yaml".into(),
        text: "kind: Pod".to_owned(),
    };
    let found = parse(&[bad, wrong]).unwrap_err();
    assert_eq!(&*found.list()[0].file, "a.yaml");
    assert!(
        found.list()[0].line > 0 && found.list()[0].reason.starts_with("not valid YAML: "),
        "{found}"
    );
    assert!(found.list().iter().any(|problem| &*problem.file == "b.yaml"), "{found}");
}

#[test]
fn a_duplicate_key_is_refused_and_later_documents_are_read() {
    let found = parse_one("kind: a\nkind: b\n---\nkind: Pod\n").unwrap_err();
    assert!(
        found.list()[0].line == 2 && found.list()[0].reason.contains("duplicate"),
        "{found}"
    );
    assert!(
        found.lines().iter().any(|line| line.contains("unknown kind \"Pod\"")),
        "{found}"
    );
}

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
        for kind in ["MCPServer", "Workload", "MCPPolicy", "ClusterMCPSettings"] {
            let _ = parse_one(&document(kind, &value));
        }
    }
}

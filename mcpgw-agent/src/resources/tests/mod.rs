//! Whole sets of resources; single values in `values`, hostile input in `hostile`.

use std::path::Path;

use super::*;

mod conflicts;
mod credentials;
mod engines;
mod gateway;
mod grants;
mod hostile;
mod issuers;
mod later;
mod namespaces;
mod never;
mod policies;
mod servers;
mod values;

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
    let addresses: Vec<String> = server.addresses().iter().map(ToString::to_string).collect();
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
    assert_eq!(policy.rules[0].tools, [Pattern::new("get_*").unwrap()]);
    assert_eq!(
        policy.rules[1],
        Rule {
            tools: vec![Pattern::new("get_secret").unwrap()],
            ..Rule::new(Action::Deny)
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
            "kind: MCPServer\nmetadata: {name: a, annotations: {}}",
            "metadata.annotations: not supported yet",
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
    let found = parse_one(&format!("{text}---\n{}", document("Workload", "{mode: audit}"))).unwrap_err();
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
            "MCPServer default/b: spec.backend.addresses[0]: AddressConflict: 10.0.0.1:1 already belongs to MCPServer default/a (r.yaml:5); two servers may share an address if their paths differ, and both have /mcp",
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
fn names_as_long_as_they_may_be_stay_apart() {
    let long = |end| "a".repeat(60) + "." + &"b".repeat(60) + end;
    let short = |name: &str, address| server(name, address).replace("spec: {", "spec: {prefix: x_, ");
    let servers = short(&long("x"), "10.0.0.1:1") + &short(&long("y"), "10.0.0.2:1");
    assert_eq!(parse_one(&servers).unwrap().servers.len(), 2);
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

//! What resources cannot be beside each other: addresses, hosts, catalogs.

use super::*;

/// A document of this kind and name in `tools`, as one line after its separator.
fn named(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\n{}",
        document(kind, spec).replace("name: x", &format!("name: {name}"))
    )
}

fn at(name: &str, address: &str, more: &str) -> String {
    named(
        "MCPServer",
        name,
        &format!("{{backend: {{addresses: [\"{address}\"]}}, {more}}}"),
    )
}

fn host(name: &str, host: &str, more: &str) -> String {
    named(
        "MCPServer",
        name,
        &format!("{{backend: {{host: {{name: {host}, port: 80}}}}, {more}}}"),
    )
}

fn catalog(namespace: &str, name: &str, spec: &str) -> String {
    named("MCPCatalog", name, spec).replace("namespace: tools", &format!("namespace: {namespace}"))
}

/// Asserts that there is one problem, with this in it.
fn refused(text: &str, expected: &str) {
    let found = problems(text);
    assert!(found.len() == 1 && found[0].contains(expected), "{found:#?}");
}

#[test]
fn servers_may_share_an_address_if_their_paths_differ() {
    let text =
        at("a", "10.0.0.1:1", "path: /a") + &at("b", "10.0.0.1:1", "path: /b") + &at("c", "10.0.0.1:2", "path: /a");
    assert_eq!(parse_one(&text).unwrap().servers.len(), 3);
    refused(
        &(at("a", "10.0.0.1:1", "path: /a") + &at("b", "[::ffff:10.0.0.1]:1", "path: /a")),
        "MCPServer tools/b: spec.backend.addresses[0]: AddressConflict: 10.0.0.1:1 already belongs to MCPServer tools/a (r.yaml:5)",
    );
}

#[test]
fn servers_may_share_a_host_if_their_paths_differ() {
    assert_eq!(
        parse_one(&(host("a", "h.b", "path: /a") + &host("b", "h.b", "path: /b")))
            .unwrap()
            .servers
            .len(),
        2
    );
    refused(
        &(host("a", "h.b", "path: /a") + &host("b", "H.b", "path: /a")),
        "MCPServer tools/b: spec.backend.host: AddressConflict: h.b:80 already belongs to MCPServer tools/a (r.yaml:5)",
    );
}

#[test]
fn servers_at_one_address_agree_in_what_is_decided_before_the_path_is_known() {
    let a = at("a", "10.0.0.1:1", "path: /a");
    refused(
        &(a + &at("b", "10.0.0.1:1", "path: /b, clientTLS: {mode: Passthrough}")),
        "which has another clientTLS",
    );
}

#[test]
fn one_servers_endpoint_is_not_readable_as_another_path_of_its_neighbour() {
    let (a, b) = (
        at("a", "10.0.0.1:1", "path: /a"),
        at("b", "10.0.0.1:1", "path: /b, otherPaths: [/a]"),
    );
    let expected = "/a is the MCP endpoint of one and in otherPaths of the other";
    refused(&(a.clone() + &b), expected);
    refused(&(b + &a), expected);
}

#[test]
fn only_so_many_servers_share_an_address() {
    let text: String = (0..=bounds::MAX_SHARERS)
        .map(|n| at(&format!("s{n}"), "10.0.0.1:1", &format!("path: /{n}")))
        .collect();
    refused(
        &text,
        "one server too many at 10.0.0.1:1: at most 64 may share an address",
    );
}

#[test]
fn only_so_many_hosts_are_resolved() {
    let text: String = (0..=bounds::MAX_HOSTS)
        .map(|n| host(&format!("s{n}"), &format!("h{n}.b"), ""))
        .collect();
    refused(&text, "one host too many: all servers together may have 1024");
}

#[test]
fn prefixes_may_be_the_same() {
    let text = at("a", "10.0.0.1:1", "prefix: p_") + &at("b", "10.0.0.2:1", "prefix: p_");
    assert!(parse_one(&text).is_ok());
}

#[test]
fn where_the_gateway_listens_there_is_no_server() {
    let settings = format!(
        "---\n{}",
        document("ClusterMCPSettings", "{gateway: {listen: [\"10.0.0.1:1\"]}}")
    );
    refused(
        &(at("a", "10.0.0.1:1", "") + &settings),
        "MCPServer tools/a: spec.backend.addresses[0]: AddressNotAllowed: 10.0.0.1:1 is where the gateway listens",
    );
    assert!(parse_one(&(settings + &at("a", "10.0.0.1:2", ""))).is_ok());
}

#[test]
fn a_catalog_chooses_servers_of_its_namespace_and_their_tools() {
    let servers = at("a", "10.0.0.1:1", "") + &at("b", "10.0.0.2:1", "");
    let spec = "{servers: [{name: b, tools: {include: [\"add*\"], exclude: [big]}}, {name: a}]}";
    let desired = parse_one(&(servers + &catalog("tools", "sums", spec))).unwrap();
    let [catalog] = &*desired.catalogs else {
        panic!("{:?}", desired.catalogs)
    };
    assert_eq!(catalog.name.to_string(), "tools/sums");
    let [b, a] = &*catalog.servers else {
        panic!("{catalog:?}")
    };
    assert_eq!(
        (b.server.to_string(), a.server.to_string()),
        ("tools/b".to_owned(), "tools/a".to_owned())
    );
    assert_eq!((b.include[0].as_str(), b.exclude[0].as_str()), ("add*", "big"));
    assert!(a.include.is_empty() && a.exclude.is_empty());
}

#[test]
fn what_a_catalog_cannot_have_is_refused() {
    let server = at("a", "10.0.0.1:1", "");
    let with = |spec: &str| server.clone() + &catalog("tools", "c", spec);
    for (spec, expected) in [
        ("{}", "spec.servers: is required"),
        (
            "{servers: []}",
            "spec.servers: must not be empty; a catalog needs one server at least",
        ),
        ("{servers: [{}]}", "spec.servers[0].name: is required"),
        (
            "{servers: [{name: A}]}",
            "spec.servers[0].name: \"A\" is not a valid name",
        ),
        (
            "{servers: [{name: a}, {name: a}]}",
            "spec.servers[1].name: \"a\" is listed twice",
        ),
        (
            "{servers: [{name: b}]}",
            "spec.servers[0].name: there is no MCPServer tools/b",
        ),
        (
            "{servers: [{name: a, tools: {include: []}}]}",
            "include: must not be empty; leave include out",
        ),
        (
            "{servers: [{name: a, tools: {exclude: [\"[\"]}}]}",
            "exclude[0]: \"[\" is not a valid glob",
        ),
        (
            "{servers: [{name: a, tools: [add]}]}",
            "spec.servers[0].tools: must be a mapping",
        ),
        ("{servers: [{name: a, tools: {only: [a]}}]}", "unknown field \"only\""),
    ] {
        refused(&with(spec), expected);
    }
    let elsewhere = server.clone() + &catalog("other", "c", "{servers: [{name: a}]}");
    refused(
        &elsewhere,
        "there is no MCPServer other/a; a catalog has servers of its own namespace",
    );
}

#[test]
fn a_catalogs_name_belongs_to_one_namespace() {
    let servers =
        at("a", "10.0.0.1:1", "") + &at("a", "10.0.0.2:1", "").replace("namespace: tools", "namespace: other");
    let spec = "{servers: [{name: a}]}";
    refused(
        &(servers + &catalog("tools", "c", spec) + &catalog("other", "c", spec)),
        "MCPCatalog other/c: metadata.name: /mcp/c already belongs to MCPCatalog tools/c (r.yaml:14)",
    );
}

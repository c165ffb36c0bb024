//! What settings grant to namespaces, and what becomes of servers that ask for more.

use super::*;

/// These settings, and servers `namespace/name` with their specs.
fn desired(settings: &str, servers: &[(&str, &str)]) -> Desired {
    let mut text = document("ClusterMCPSettings", settings);
    for (name, spec) in servers {
        let (namespace, name) = name.split_once('/').unwrap();
        text += &format!(
            "---\napiVersion: mcpgw.dev/v1alpha1\nkind: MCPServer\n\
             metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
        );
    }
    parse_one(&text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn names(servers: &[Arc<Server>]) -> Vec<String> {
    servers.iter().map(|server| server.name.to_string()).collect()
}

const AT_ADDRESS: &str = "{backend: {addresses: [\"10.0.0.5:80\", \"10.1.0.5:80\"]}}";
const AT_HOST: &str = "{backend: {host: {name: MCP.example.com, port: 443}}}";

#[test]
fn where_settings_say_nothing_files_are_the_operators_own_word() {
    for settings in ["{}", "{unknownWorkloads: Pass}"] {
        let found = desired(settings, &[("a/one", AT_ADDRESS), ("b/two", AT_HOST)]);
        assert_eq!(names(&found.servers), ["a/one", "b/two"]);
        assert!(found.refused.is_empty() && found.not_granted.is_empty());
    }
}

#[test]
fn where_they_say_something_a_server_is_where_its_namespace_may_have_one_or_nowhere() {
    let table = [
        ("[]", [false, false]),
        ("[{namespaces: [a], addresses: [10.0.0.0/8]}]", [true, false]),
        // Each of its addresses must be granted.
        ("[{namespaces: [a], addresses: [10.0.0.0/16]}]", [false, false]),
        (
            "[{namespaces: [a], addresses: [10.0.0.0/16]}, {namespaces: [\"*\"], addresses: [10.1.0.5/32]}]",
            [true, false],
        ),
        (
            "[{namespaces: [b], addresses: [10.0.0.0/8], hosts: [x.example.com]}]",
            [false, false],
        ),
        ("[{namespaces: [b], hosts: [mcp.example.com]}]", [false, true]),
        ("[{namespaces: [b], hosts: [\"*.Example.com\"]}]", [false, true]),
        ("[{namespaces: [b], hosts: [\"*.mcp.example.com\"]}]", [false, false]),
        ("[{namespaces: [a, b], hosts: [\"*\"]}]", [false, true]),
        (
            "[{namespaces: [\"*\"], hosts: [\"*\"], addresses: [0.0.0.0/0]}]",
            [true, true],
        ),
    ];
    for (grants, [address, host]) in table {
        let found = desired(
            &format!("{{externalBackends: {grants}}}"),
            &[("a/one", AT_ADDRESS), ("b/two", AT_HOST)],
        );
        let wanted: Vec<&str> = [("a/one", address), ("b/two", host)]
            .into_iter()
            .filter_map(|(name, granted)| granted.then_some(name))
            .collect();
        assert_eq!(names(&found.servers), wanted, "{grants}");
        assert_eq!(found.refused.len() + found.servers.len(), 2, "{grants}");
        let told: Vec<String> = found.not_granted.iter().map(|told| told.server.to_string()).collect();
        assert_eq!(told, names(&found.refused), "{grants}");
    }
}

#[test]
fn a_refusal_names_the_place_the_namespace_and_the_setting() {
    let found = desired("{externalBackends: []}", &[("a/one", AT_ADDRESS), ("b/two", AT_HOST)]);
    let told: Vec<String> = found.not_granted.iter().map(ToString::to_string).collect();
    let all = "nothing is done for this server, and nothing is governed there for it";
    assert_eq!(
        told,
        [
            format!("NotGranted: externalBackends of ClusterMCPSettings does not grant 10.0.0.5 to namespace a: {all}"),
            format!(
                "NotGranted: externalBackends of ClusterMCPSettings does not grant mcp.example.com to namespace b: {all}"
            ),
        ]
    );
}

#[test]
fn a_server_that_is_not_granted_its_place_takes_nobodys() {
    // Both at one address with one path: in other cases that is a conflict, and whoever is first keeps it.
    let found = desired(
        "{externalBackends: [{namespaces: [owner], addresses: [10.0.0.0/8]}]}",
        &[("attacker/one", AT_ADDRESS), ("owner/one", AT_ADDRESS)],
    );
    assert_eq!(names(&found.servers), ["owner/one"]);
    assert_eq!(names(&found.refused), ["attacker/one"]);
}

#[test]
fn policies_and_catalogs_may_name_a_server_that_is_not_granted() {
    let text = document("ClusterMCPSettings", "{externalBackends: []}")
        + "---\n"
        + &document("MCPServer", AT_ADDRESS)
        + "---\n"
        + &document(
            "MCPPolicy",
            "{targetRefs: [{kind: MCPServer, name: x}], rules: [{action: Allow}]}",
        )
        + "---\n"
        + &document("MCPCatalog", "{servers: [{name: x}]}");
    let found = parse_one(&text).unwrap();
    assert_eq!((found.refused.len(), found.catalogs.len()), (1, 1));
}

#[test]
fn the_place_that_a_servers_tokens_come_from_must_be_granted_as_well() {
    let with = |url: &str| {
        format!(
            "{{backend: {{host: {{name: mcp.example.com, port: 443}}}}, tls: {{}}, credential: {{oauth2: \
             {{tokenUrl: \"{url}\", clientId: x, clientSecretFile: /s}}}}}}"
        )
    };
    let grants = "{externalBackends: [{namespaces: [a], hosts: [mcp.example.com, login.example.com], \
                  addresses: [10.0.0.5/32]}]}";
    for (url, granted) in [
        ("https://login.example.com/token", true),
        ("https://LOGIN.example.com:8443/token", true),
        ("https://10.0.0.5/token", true),
        ("https://10.0.0.6/token", false),
        ("https://[fd00::1]/token", false),
        ("https://elsewhere.example.com/token", false),
        ("http://localhost:1/token", false),
    ] {
        let found = desired(grants, &[("a/one", &with(url))]);
        assert_eq!(found.servers.len() == 1, granted, "{url}: {:?}", found.not_granted);
        assert!(granted || found.not_granted[0].reason.contains("tokenUrl"), "{url}");
    }
}

#[test]
fn servers_are_shown_to_nobody_whom_the_settings_do_not_let_see_them() {
    let some = |list: &[&str]| Expose::Namespaces(list.iter().map(|name| Arc::from(*name)).collect());
    let table = [
        ("[]", "[b, c]", Expose::Own, Some("to b, c:")),
        ("[]", "[\"*\"]", Expose::Own, Some("to everyone:")),
        ("[]", "[a]", some(&["a"]), None),
        ("[{namespaces: [a], to: [b]}]", "[b]", some(&["b"]), None),
        ("[{namespaces: [a], to: [b]}]", "[b, c]", some(&["b"]), Some("to c:")),
        ("[{namespaces: [x], to: [b]}]", "[b]", Expose::Own, Some("to b:")),
        (
            "[{namespaces: [a], to: [b]}, {namespaces: [\"*\"], to: [b, c]}]",
            "[\"*\"]",
            some(&["b", "c"]),
            Some("to everyone (only to b, c):"),
        ),
        (
            "[{namespaces: [\"*\"], to: [\"*\"]}]",
            "[\"*\"]",
            Expose::Everyone,
            None,
        ),
        ("[{namespaces: [a], to: [\"*\"]}]", "[b]", some(&["b"]), None),
    ];
    for (grants, asked, shown, told) in table {
        let spec = format!("{{backend: {{addresses: [\"10.0.0.5:80\"]}}, exposeTo: {{namespaces: {asked}}}}}");
        let found = desired(&format!("{{exposure: {grants}}}"), &[("a/one", &spec)]);
        assert_eq!(found.servers[0].expose_to, shown, "{grants} {asked}");
        match told {
            Some(told) => assert!(found.not_granted[0].reason.contains(told), "{:?}", found.not_granted),
            None => assert!(found.not_granted.is_empty(), "{:?}", found.not_granted),
        }
    }
    // One that asks for nothing is refused nothing.
    assert!(desired("{exposure: []}", &[("a/one", AT_HOST)]).not_granted.is_empty());
}

#[test]
fn grants_are_checked() {
    let table = [
        (
            "externalBackends: {}",
            "spec.externalBackends: must be a list, but is a mapping",
        ),
        ("externalBackends: [{}]", "[0].namespaces: is required"),
        (
            "externalBackends: [{namespaces: [a]}]",
            "[0]: grants nothing: it needs hosts, addresses, or both",
        ),
        (
            "externalBackends: [{namespaces: [a], ports: [1]}]",
            "unknown field \"ports\"",
        ),
        (
            "externalBackends: [{namespaces: [], hosts: [x]}]",
            "must not be empty; leave the whole entry out",
        ),
        (
            "externalBackends: [{namespaces: [a, \"*\"], hosts: [x]}]",
            "write it alone",
        ),
        (
            "externalBackends: [{namespaces: [a], hosts: []}]",
            "leave hosts out to grant none",
        ),
        (
            "externalBackends: [{namespaces: [a], hosts: [x, X]}]",
            "hosts[1]: is listed twice",
        ),
        (
            "externalBackends: [{namespaces: [a], hosts: [\"*x\"]}]",
            "hosts[0]: \"*x\" is not the name of a host",
        ),
        (
            "externalBackends: [{namespaces: [a], hosts: [\"a.*.b\"]}]",
            "is not the name of a host",
        ),
        (
            "externalBackends: [{namespaces: [a], hosts: [\"*.\"]}]",
            "is not the name of a host",
        ),
        (
            "externalBackends: [{namespaces: [a], hosts: [10.0.0.5]}]",
            "ends with a number",
        ),
        (
            "externalBackends: [{namespaces: [a], addresses: [10.0.0.5]}]",
            "is no network such as",
        ),
        (
            "externalBackends: [{namespaces: [a], addresses: [10.0.0.5/8]}]",
            "write \"10.0.0.0/8\"",
        ),
        (
            "externalBackends: [{namespaces: [a], addresses: [10.0.0.0/33]}]",
            "is no network such as",
        ),
        ("exposure: [{namespaces: [a]}]", "spec.exposure[0].to: is required"),
        ("exposure: [{namespaces: [a], to: []}]", "must not be empty"),
        ("exposure: [{to: [a]}]", "spec.exposure[0].namespaces: is required"),
    ];
    for (spec, reason) in table {
        let found = problems(&document("ClusterMCPSettings", &format!("{{{spec}}}")));
        assert!(found.iter().any(|line| line.contains(reason)), "{spec}: {found:#?}");
    }
    let many = vec!["{namespaces: [a], to: [b]}"; bounds::MAX_GRANTS + 1].join(", ");
    let found = problems(&document("ClusterMCPSettings", &format!("{{exposure: [{many}]}}")));
    assert!(
        found[0].contains("has 257 entries; at most 256 are allowed"),
        "{found:#?}"
    );
}

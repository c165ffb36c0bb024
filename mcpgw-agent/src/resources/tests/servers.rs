//! `MCPServer`, field by field.

use std::{net::IpAddr, time::Duration};

use super::*;

/// The server that `spec` describes; `backend` is put in where it is missing.
fn one(spec: &str) -> Server {
    Server::clone(
        &parse_one(&document("MCPServer", &with_backend(spec)))
            .unwrap_or_else(|error| panic!("{error}"))
            .servers[0],
    )
}

fn with_backend(spec: &str) -> String {
    match spec.contains("backend") {
        true => format!("{{{spec}}}"),
        false => format!("{{backend: {{addresses: [\"10.0.0.5:80\"]}}, {spec}}}"),
    }
}

/// Asserts that there is one problem: this field, for this reason.
fn refused(spec: &str, field: &str, reason: &str) {
    let found = parse_one(&document("MCPServer", &with_backend(spec))).expect_err(spec);
    let [problem] = found.list() else {
        panic!("{spec}: {found}")
    };
    assert_eq!(problem.field, field, "{spec}: {found}");
    assert!(problem.reason.contains(reason), "{spec}: {found}");
    assert!(problem.line > 0, "{spec}: {found}");
}

#[test]
fn what_is_left_out_has_its_default() {
    let expected = Server::at(
        ObjectName {
            namespace: "tools".into(),
            name: "x".into(),
        },
        vec!["10.0.0.5:80".parse().unwrap()],
    );
    assert_eq!(one(""), expected);
    assert_eq!((&*expected.prefix, &*expected.path), ("x_", "/mcp"));
    assert_eq!(expected.capture, Capture::Redirect);
}

#[test]
fn pins_and_trust_are_what_they_say_and_nothing_else() {
    assert_eq!((one("").pin, one("pin: Warn").pin), (Pin::Off, Pin::Warn));
    refused("pin: warn", "spec.pin", "\"warn\" is not one of Off, Warn, Enforce");
    refused(
        "pin: Enforce, clientTLS: {mode: Passthrough}",
        "spec.pin",
        "cannot be with clientTLS Passthrough",
    );
    refused(
        "trustAnnotations: 1",
        "spec.trustAnnotations",
        "must be true or false, but is a number",
    );
}

#[test]
fn every_field_arrives() {
    let server = one(
        "backend: {host: {name: MCP.example.com, port: 8443}}, path: /v1, prefix: a-b.C_, \
         tls: {serverName: calc.internal, caFile: /etc/ca.pem}, \
         clientTLS: {mode: Terminate, certificateFile: /c.pem, keyFile: /k.pem}, \
         timeouts: {connect: 1ms, firstByte: 1m 30s, idle: 24h, call: 10s}, \
         otherPaths: [/health, /ready/x], exposeTo: {namespaces: [a, b]}, capture: GatewayOnly, \
         pin: Enforce, trustAnnotations: true",
    );
    let host = Backend::Host {
        name: "mcp.example.com".into(),
        port: 8443,
        h2c: false,
    };
    assert_eq!(server.backend, host);
    assert_eq!((&*server.path, &*server.prefix), ("/v1", "a-b.C_"));
    let tls = UpstreamTls {
        server_name: Some("calc.internal".into()),
        authorities: Some("/etc/ca.pem".into()),
    };
    assert_eq!(server.tls, Some(tls));
    let certificate = Certificate {
        certificate: "/c.pem".into(),
        key: "/k.pem".into(),
    };
    assert_eq!(server.client_tls, ClientTls::Terminate(certificate));
    assert_eq!((server.pin, server.trust_annotations), (Pin::Enforce, true));
    let timeouts = Timeouts {
        connect: Duration::from_millis(1),
        first_byte: Duration::from_secs(90),
        idle: Duration::from_secs(86_400),
        call: Duration::from_secs(10),
    };
    assert_eq!(server.timeouts, timeouts);
    assert_eq!(server.other_paths, ["/health".into(), "/ready/x".into()]);
    assert_eq!(server.expose_to, Expose::Namespaces(vec!["a".into(), "b".into()]));
    assert_eq!(server.capture, Capture::GatewayOnly);
}

#[test]
fn a_host_is_left_alone_by_default_and_addresses_are_captured() {
    let host = "backend: {host: {name: mcp.example.com, port: 443}}";
    assert_eq!(one(host).capture, Capture::Off);
    assert_eq!(one(&format!("{host}, capture: Redirect")).capture, Capture::Redirect);
    assert_eq!(one("capture: Off").capture, Capture::Off);
    refused(
        "capture: off",
        "spec.capture",
        "\"off\" is not one of Redirect, GatewayOnly, Off",
    );
}

#[test]
fn a_backend_is_at_one_kind_of_place() {
    let both = "backend: {addresses: [\"10.0.0.5:80\"], host: {name: a.b, port: 1}}";
    refused(both, "spec.backend", "must have one of: addresses, host");
    refused(
        "backend: {service: {name: a, port: 1}}",
        "spec.backend.service",
        "not supported yet",
    );
    refused("backend: {host: {name: a.b}}", "spec.backend.host.port", "is required");
    refused("backend: {host: {port: 1}}", "spec.backend.host.name", "is required");
    for port in ["0", "65536", "-1", "1.5"] {
        refused(
            &format!("backend: {{host: {{name: a.b, port: {port}}}}}"),
            "spec.backend.host.port",
            "1 to 65535",
        );
    }
    refused(
        "backend: {host: {name: a.b, port: \"80\"}}",
        "spec.backend.host.port",
        "must be a number",
    );
}

#[test]
fn a_host_is_a_name_that_only_dns_can_read() {
    let with = |name: &str| format!("backend: {{host: {{name: \"{name}\", port: 1}}}}");
    for name in [
        "a",
        "calc_1",
        "mcp.example.com",
        "xn--bcher-kva.example",
        "1password.com",
        "a--b.c",
    ] {
        assert_eq!(one(&with(name)).places(), [format!("{name}:1")]);
    }
    let long = format!("{}.{}", "a.".repeat(126), "bc");
    for (name, reason) in [
        ("10.0.0.5", "write it under backend.addresses"),
        ("fd00::5", "write it under backend.addresses"),
        ("127.1", "ends with a number"),
        ("a.0x7f", "ends with a number"),
        ("2130706433", "ends with a number"),
        ("localhost", "AddressNotAllowed"),
        ("a.LocalHost", "AddressNotAllowed"),
        ("a.b.", "ends with a dot"),
        ("", "not the name of a host"),
        (".", "not the name of a host"),
        ("a..b", "not the name of a host"),
        ("-a.b", "not the name of a host"),
        ("a b", "not the name of a host"),
        ("a/b", "not the name of a host"),
        ("a:80", "not the name of a host"),
        ("bücher.example", "not the name of a host"),
        (&*long, "at most 253"),
    ] {
        refused(&with(name), "spec.backend.host.name", reason);
    }
}

#[test]
fn http2_without_tls_is_said_by_app_protocol() {
    let h2c = "backend: {addresses: [\"10.0.0.5:80\"], appProtocol: kubernetes.io/h2c}";
    assert!(matches!(one(h2c).backend, Backend::Addresses { h2c: true, .. }));
    assert!(matches!(one("").backend, Backend::Addresses { h2c: false, .. }));
    refused(
        &format!("{h2c}, tls: {{}}"),
        "spec.backend.appProtocol",
        "leave appProtocol out",
    );
    let other = "backend: {host: {name: a.b, port: 1}, appProtocol: grpc}";
    refused(other, "spec.backend.appProtocol", "is not one of kubernetes.io/h2c");
}

#[test]
fn the_path_of_an_event_stream_has_another_default() {
    assert_eq!(
        (one("transport: SSE").transport, &*one("transport: SSE").path),
        (Transport::Sse, "/sse")
    );
    assert_eq!(&*one("transport: SSE, path: /mcp").path, "/mcp");
    assert_eq!(&*one("transport: StreamableHTTP").path, "/mcp");
    refused(
        "transport: stdio",
        "spec.transport",
        "is not one of StreamableHTTP, SSE",
    );
}

#[test]
fn a_prefix_is_literal_and_never_shortened() {
    assert_eq!(&*one("prefix: \"\"").prefix, "");
    assert_eq!(one(&format!("prefix: {}", "a".repeat(32))).prefix.len(), 32);
    refused(
        &format!("prefix: {}", "a".repeat(33)),
        "spec.prefix",
        "is 33 bytes long; at most 32 are allowed",
    );
    refused("prefix: a/b", "spec.prefix", "has a '/'");
    refused("prefix: ä", "spec.prefix", "has a 'ä'");
    refused("prefix: 7", "spec.prefix", "put it in quotes");
    let name = "a".repeat(32);
    let long =
        document("MCPServer", "{backend: {addresses: [\"10.0.0.5:80\"]}}").replace("name: x", &format!("name: {name}"));
    let found = problems(&long);
    let advice = format!(
        "spec.prefix: is required here: the default, \"{name}_\", is 33 bytes long and at most 32 are allowed; choose a shorter one"
    );
    assert!(found.len() == 1 && found[0].contains(&advice), "{found:?}");
    let named = long.replace("spec: {", "spec: {prefix: a_, ");
    assert_eq!(&*parse_one(&named).unwrap().servers[0].prefix, "a_");
}

#[test]
fn tls_towards_a_server_may_be_all_defaults() {
    let default = UpstreamTls {
        server_name: None,
        authorities: None,
    };
    assert_eq!(one("tls: {}").tls, Some(default));
    assert_eq!(one("tls:").tls, None);
    assert_eq!(
        one("tls: {serverName: \"FD00::5\"}")
            .tls
            .unwrap()
            .server_name
            .as_deref(),
        Some("fd00::5")
    );
    refused("tls: true", "spec.tls", "must be a mapping");
    refused(
        "tls: {serverName: \"a b\"}",
        "spec.tls.serverName",
        "not the name of a host",
    );
    refused("tls: {caFile: ca.pem}", "spec.tls.caFile", "begins with \"/\"");
    refused(
        "tls: {insecureSkipVerify: true}",
        "spec.tls",
        "unknown field \"insecureSkipVerify\"",
    );
}

#[test]
fn tls_of_clients_is_ended_refused_or_passed_on() {
    assert_eq!(one("clientTLS: {mode: Refuse}").client_tls, ClientTls::Refuse);
    assert_eq!(one("clientTLS: {mode: Passthrough}").client_tls, ClientTls::Passthrough);
    let host = "backend: {host: {name: a.example, port: 443}}";
    assert!(one(host).passes_other_names);
    assert!(!one(&format!("{host}, otherNames: Refuse")).passes_other_names);
    refused("otherNames: Pass", "spec.otherNames", "backend.host only");
    refused("clientTLS: {}", "spec.clientTLS.mode", "is required");
    refused(
        "clientTLS: {mode: terminate}",
        "spec.clientTLS.mode",
        "is not one of Terminate, Refuse, Passthrough",
    );
    refused(
        "clientTLS: {mode: Terminate, keyFile: /k}",
        "spec.clientTLS.certificateFile",
        "is required",
    );
    refused(
        "clientTLS: {mode: Terminate, certificateFile: /c}",
        "spec.clientTLS.keyFile",
        "is required",
    );
    refused(
        "clientTLS: {mode: Refuse, keyFile: /k}",
        "spec.clientTLS.keyFile",
        "with mode Terminate only",
    );
    refused(
        "clientTLS: {mode: Passthrough, certificateFile: /k}",
        "spec.clientTLS.certificateFile",
        "leave it out",
    );
}

#[test]
fn timeouts_are_bounded() {
    let expected = Timeouts {
        idle: Duration::from_secs(60),
        ..Timeouts::default()
    };
    assert_eq!(one("timeouts: {idle: 1m}").timeouts, expected);
    for value in ["999us", "0s", "24h 1ms", "1000000y"] {
        refused(
            &format!("timeouts: {{call: {value}}}"),
            "spec.timeouts.call",
            "is out of bounds: 1ms to 1day",
        );
    }
    for value in ["\"\"", "\"5\"", "5 parsecs", "-1s", "99999999999999999999s"] {
        refused(
            &format!("timeouts: {{connect: {value}}}"),
            "spec.timeouts.connect",
            "is not a duration such as",
        );
    }
    refused(
        "timeouts: {firstByte: 5}",
        "spec.timeouts.firstByte",
        "must be a string, but is a number",
    );
    refused("timeouts: {total: 5s}", "spec.timeouts", "unknown field \"total\"");
}

#[test]
fn other_paths_are_exact_and_never_the_endpoint() {
    refused("otherPaths: []", "spec.otherPaths", "must not be empty");
    refused("otherPaths: [/a, /a]", "spec.otherPaths[1]", "\"/a\" is listed twice");
    refused(
        "otherPaths: [/mcp]",
        "spec.otherPaths[0]",
        "the path of the MCP endpoint itself",
    );
    refused(
        "transport: SSE, otherPaths: [/sse]",
        "spec.otherPaths[0]",
        "the path of the MCP endpoint itself",
    );
    refused("otherPaths: [\"/a/*?\"]", "spec.otherPaths[0]", "has a '?'");
    refused("otherPaths: [/a/../b]", "spec.otherPaths[0]", "\"..\" segment");
    let many: Vec<String> = (0..=bounds::MAX_OTHER_PATHS).map(|n| format!("/{n}")).collect();
    refused(
        &format!("otherPaths: [{}]", many.join(", ")),
        "spec.otherPaths",
        "has 65 entries; at most 64",
    );
}

#[test]
fn a_server_is_exposed_to_some_namespaces_or_to_all() {
    assert_eq!(one("exposeTo: {namespaces: [\"*\"]}").expose_to, Expose::Everyone);
    assert_eq!(one("").expose_to, Expose::Own);
    for both_or_none in ["{}", "{namespaces: [a], selector: {matchLabels: {a: b}}}"] {
        refused(
            &format!("exposeTo: {both_or_none}"),
            "spec.exposeTo",
            "must have exactly one of: namespaces, selector",
        );
    }
    refused(
        "exposeTo: {namespaces: []}",
        "spec.exposeTo.namespaces",
        "its own namespace only",
    );
    refused(
        "exposeTo: {namespaces: [a, \"*\"]}",
        "spec.exposeTo.namespaces[1]",
        "write it alone",
    );
    refused(
        "exposeTo: {namespaces: [a, a]}",
        "spec.exposeTo.namespaces[1]",
        "\"a\" is listed twice",
    );
    refused(
        "exposeTo: {namespaces: [\"a*\"]}",
        "spec.exposeTo.namespaces[0]",
        "not a valid namespace",
    );
}

#[test]
fn several_wrong_fields_are_reported_together() {
    let spec = with_backend("transport: x, prefix: /, tls: 1, timeouts: {idle: 0s}, capture: x");
    let found = parse_one(&document("MCPServer", &spec)).unwrap_err();
    let fields: Vec<&str> = found.list().iter().map(|problem| &*problem.field).collect();
    assert_eq!(
        fields,
        [
            "spec.transport",
            "spec.prefix",
            "spec.tls",
            "spec.timeouts.idle",
            "spec.capture"
        ]
    );
}

#[test]
fn resolved_addresses_obey_the_same_rule_as_written_ones() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    for bad in [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "::",
        "169.254.169.254",
        "fe80::1",
        "224.0.0.1",
        "168.63.129.16",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd20:ce::254",
    ] {
        assert!(not_allowed(ip(bad)).is_some(), "{bad}");
    }
    for good in ["10.0.0.5", "::ffff:10.0.0.5", "fd00::5", "2001:db8::1", "192.0.2.1"] {
        assert_eq!(not_allowed(ip(good)), None, "{good}");
    }
}

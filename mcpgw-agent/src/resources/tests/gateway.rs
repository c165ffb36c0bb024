//! `ClusterMCPSettings.spec.gateway` and what goes with it.

use super::*;

fn settings(spec: &str) -> Settings {
    parse_one(&document("ClusterMCPSettings", spec))
        .unwrap_or_else(|error| panic!("{error}"))
        .settings
}

fn gateway(fields: &str) -> Gateway {
    settings(&format!("{{gateway: {{{fields}}}}}")).gateway.unwrap()
}

/// Asserts that there is one problem: this field of the gateway, for this reason.
fn refused(fields: &str, field: &str, reason: &str) {
    let text = document("ClusterMCPSettings", &format!("{{gateway: {{{fields}}}}}"));
    let found = parse_one(&text).expect_err(fields);
    let [problem] = found.list() else {
        panic!("{fields}: {found}")
    };
    assert_eq!(problem.field, format!("spec.gateway{field}"), "{fields}: {found}");
    assert!(problem.reason.contains(reason), "{fields}: {found}");
}

const LISTEN: &str = "listen: [\"10.0.0.1:8080\"]";

#[test]
fn every_field_arrives() {
    let found = settings(
        "{sessionKeysFile: /etc/keys, gateway: {listen: [\"10.0.0.1:8080\", \"[fd00::1]:8080\", \"[::ffff:10.0.0.2]:1\"], \
         tls: {certificateFile: /c.pem, keyFile: /k.pem}, allowedOrigins: [\"https://console.example\"], \
         authentication: {mode: Attested}}}",
    );
    let listen = ["10.0.0.1:8080", "[fd00::1]:8080", "10.0.0.2:1"];
    let expected = Gateway {
        listen: listen.map(|address| address.parse().unwrap()).into(),
        tls: Some(Certificate {
            certificate: "/c.pem".into(),
            key: "/k.pem".into(),
        }),
        allowed_origins: vec!["https://console.example".into()],
        authentication: Authentication::Attested,
    };
    assert_eq!(found.gateway, Some(expected));
    assert_eq!(found.session_keys.as_deref(), Some(Path::new("/etc/keys")));
    assert_eq!(settings("{}"), Settings::default());
}

#[test]
fn callers_are_attested_unless_every_listener_is_on_loopback() {
    let mode = |listen: &str| gateway(&format!("listen: [{listen}]")).authentication;
    assert_eq!(mode("\"127.0.0.1:1\", \"[::1]:1\""), Authentication::None);
    assert_eq!(mode("\"127.0.0.1:1\", \"10.0.0.1:1\""), Authentication::Attested);
    let asked = gateway("listen: [\"127.0.0.1:1\"], authentication: {mode: Attested}");
    assert_eq!(asked.authentication, Authentication::Attested);
    assert_eq!(
        gateway("listen: [\"127.0.0.1:1\"], authentication: {mode: None}").authentication,
        Authentication::None
    );
    refused(
        "listen: [\"127.0.0.1:1\", \"10.0.0.1:1\"], authentication: {mode: None}",
        ".authentication.mode",
        "None lets everyone in who reaches 10.0.0.1:1, which is not on loopback; write Attested",
    );
}

#[test]
fn authentication_has_a_mode() {
    refused(
        &format!("{LISTEN}, authentication: {{}}"),
        ".authentication.mode",
        "is required",
    );
    refused(
        &format!("{LISTEN}, authentication: Attested"),
        ".authentication",
        "must be a mapping",
    );
    refused(
        &format!("{LISTEN}, authentication: {{mode: Open}}"),
        ".authentication.mode",
        "is not one of Attested, Token, AttestedAndToken, Any, None",
    );
    for mode in ["Token", "AttestedAndToken", "Any"] {
        refused(
            &format!("{LISTEN}, authentication: {{mode: {mode}}}"),
            ".authentication.mode",
            &format!("{mode} needs spec.issuers"),
        );
    }
}

#[test]
fn the_gateway_listens_on_addresses_that_callers_can_dial() {
    refused("tls: {certificateFile: /c, keyFile: /k}", ".listen", "is required");
    refused("listen: []", ".listen", "leave gateway out");
    for (address, reason) in [
        ("10.0.0.1", "has no port"),
        ("localhost:80", "is not an IP address and a port"),
        ("10.0.0.1:0", "has port 0"),
        ("0.0.0.0:80", "list those that callers dial"),
        ("[::]:80", "list those that callers dial"),
        ("[::ffff:0.0.0.0]:80", "nothing can listen there"),
        ("224.0.0.1:80", "a multicast address"),
        ("255.255.255.255:80", "the broadcast address"),
        ("[fe80::1]:80", "a link-local address"),
    ] {
        refused(&format!("listen: [\"{address}\"]"), ".listen[0]", reason);
    }
    refused(
        "listen: [\"10.0.0.1:1\", \"[::ffff:10.0.0.1]:1\"]",
        ".listen[1]",
        "10.0.0.1:1 is listed twice",
    );
    let many: Vec<String> = (0..=bounds::MAX_LISTEN)
        .map(|n| format!("\"10.0.0.1:{}\"", n + 1))
        .collect();
    refused(
        &format!("listen: [{}]", many.join(", ")),
        ".listen",
        "has 17 entries; at most 16",
    );
}

#[test]
fn a_certificate_has_its_key() {
    refused(
        &format!("{LISTEN}, tls: {{certificateFile: /c.pem}}"),
        ".tls.keyFile",
        "is required",
    );
    refused(
        &format!("{LISTEN}, tls: {{keyFile: /k.pem}}"),
        ".tls.certificateFile",
        "is required",
    );
}

#[test]
fn an_origin_has_the_one_spelling_that_browsers_send() {
    for origin in [
        "https://console.example",
        "https://console.example:8443",
        "http://localhost:6274",
        "http://127.0.0.1:8080",
        "http://[::1]:8080",
        "https://a_b.example",
    ] {
        let found = gateway(&format!("{LISTEN}, allowedOrigins: [\"{origin}\"]"));
        assert_eq!(found.allowed_origins, [origin.into()]);
    }
    for (origin, reason) in [
        ("*", "would let every web page call"),
        ("https://console.example/", "is not an origin"),
        ("https://console.example/a", "is not an origin"),
        ("https://Console.example", "is not an origin"),
        ("https://user@console.example", "is not an origin"),
        ("https://console.example:443", "browsers leave out"),
        ("http://console.example:80", "browsers leave out"),
        ("https://console.example:08443", "is not an origin"),
        ("https://console.example:0", "is not an origin"),
        ("https://console.example:", "is not an origin"),
        ("http://[::0001]:8080", "is not an origin"),
        ("http://127.1:8080", "is not an origin"),
        ("https://", "is not an origin"),
        ("console.example", "is not an origin"),
        ("null", "is not an origin"),
        ("ftp://console.example", "is not an origin"),
    ] {
        refused(
            &format!("{LISTEN}, allowedOrigins: [\"{origin}\"]"),
            ".allowedOrigins[0]",
            reason,
        );
    }
    refused(
        &format!("{LISTEN}, allowedOrigins: [\"https://a.b\", \"https://a.b\"]"),
        ".allowedOrigins[1]",
        "is listed twice",
    );
    refused(
        &format!("{LISTEN}, allowedOrigins: []"),
        ".allowedOrigins",
        "leave it out",
    );
}

#[test]
fn the_file_of_session_keys_is_an_absolute_path() {
    let found = problems(&document("ClusterMCPSettings", "{sessionKeysFile: keys}"));
    assert!(
        found.len() == 1 && found[0].contains("spec.sessionKeysFile: \"keys\" is not a path that begins with"),
        "{found:?}"
    );
}

#[test]
fn the_audit_log_is_kept_as_the_settings_say() {
    assert_eq!(settings("{}").audit, AuditSettings::default());
    let expected = AuditSettings {
        sink: None,
        exported: false,
        on_full: OnFull::Block,
        max_size: 5_000_000,
        keep: 0,
        payloads: None,
    };
    assert_eq!(
        settings("{audit: {onFull: Block, maxMegabytes: 5, keep: 0}}").audit,
        expected
    );
    for (spec, sink, exported) in [
        ("{}", None, false),
        ("{sink: Local}", None, false),
        ("{sink: Stdout}", Some(AuditSink::Stdout), false),
        ("{sink: File, file: /a/b}", Some(AuditSink::File("/a/b".into())), false),
        ("{sink: OTLP}", None, true),
        ("{sink: OTLP, file: /a/b}", Some(AuditSink::File("/a/b".into())), true),
    ] {
        let audit = settings(&format!("{{audit: {spec}}}")).audit;
        assert_eq!((audit.sink, audit.exported), (sink, exported), "{spec}");
    }
    for (spec, reason) in [
        ("{sink: File}", "spec.audit.file: is required"),
        ("{sink: File, file: audit.jsonl}", "is not a path that begins with"),
        ("{sink: Stdout, file: /a/b}", "spec.audit.file: is of no use"),
        ("{file: /a/b}", "spec.audit.file: is of no use"),
        ("{sink: Syslog}", "\"Syslog\" is not one of Local, Stdout, File, OTLP"),
        ("{maxMegabytes: 0}", "must be a whole number from 1 to 100000"),
        ("{keep: -1}", "must be a whole number from 0 to 1000"),
        ("{keep: \"5\"}", "must be a number, but is a string"),
        ("{onFull: Drop}", "\"Drop\" is not one of Count, Block"),
        ("{payloads: {}}", "spec.audit.payloads.arguments: is required"),
        ("{payloads: {results: {}}}", "unknown field \"results\""),
        (
            "{payloads: {arguments: {maxBytes: 16385}}}",
            "must be a whole number from 1 to 16384",
        ),
        (
            "{payloads: {arguments: {redact: []}}}",
            "leave redact out to take out tokens only",
        ),
        (
            "{payloads: {arguments: {redact: [\"$.ok\", \"$.api-key\"]}}}",
            "redact[1]: \"$.api-key\" cannot be read at \"-key\"",
        ),
        (
            "{payloads: {arguments: {redact: [password]}}}",
            "\"password\" must begin with $",
        ),
    ] {
        let text = parse_one(&document("ClusterMCPSettings", &format!("{{audit: {spec}}}")));
        let text = text.expect_err(spec).to_string();
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn arguments_are_in_the_audit_log_only_where_settings_ask_for_them() {
    let of = |arguments: &str| {
        let settings = settings(&format!("{{audit: {{payloads: {{arguments: {arguments}}}}}}}"));
        settings.audit.payloads.unwrap()
    };
    assert_eq!(*of("{}"), Payloads::default());
    let expected = Payloads {
        redact: ["$.password", "$..token"]
            .map(|path| JsonPath::parse(path).unwrap())
            .into(),
        max_bytes: 100,
    };
    assert_eq!(*of("{redact: [$.password, $..token], maxBytes: 100}"), expected);
}

#[test]
fn what_a_running_agent_cannot_take_over_is_put_back_and_named() {
    let running = settings(&format!("{{gateway: {{{LISTEN}, allowedOrigins: [\"https://a.b\"]}}}}"));
    let mut same = running.clone();
    assert!(same.keep_until_restart(&running, &running).is_empty() && same == running);

    let mut moved = settings(
        "{unknownWorkloads: Refuse, sessionKeysFile: /k, pinsDirectory: /p, gateway: {listen: [\"127.0.0.1:1\"], tls: {certificateFile: /c, keyFile: /k}}}",
    );
    let kept = moved.keep_until_restart(&running, &running);
    let fields = ["listen", "tls", "authentication"].map(|field| format!("spec.gateway.{field}"));
    assert_eq!(kept[..3], fields);
    assert_eq!(kept[3..], ["spec.sessionKeysFile", "spec.pinsDirectory"]);
    let expected = Settings {
        unknown_workloads: UnknownWorkloads::Refuse,
        gateway: Some(Gateway {
            // An origin that is no longer allowed is refused at once.
            allowed_origins: vec![],
            ..running.gateway.clone().unwrap()
        }),
        ..Settings::default()
    };
    assert_eq!(moved, expected);

    let mut gone = settings("{}");
    assert_eq!(gone.keep_until_restart(&running, &running), ["spec.gateway"]);
    assert_eq!(gone.gateway, running.gateway);
    let mut new = running.clone();
    assert_eq!(
        new.keep_until_restart(&Settings::default(), &Settings::default()),
        ["spec.gateway"]
    );
    assert_eq!(new.gateway, None);
}

#[test]
fn a_running_agent_takes_over_a_certificate_where_it_listens_and_not_elsewhere() {
    let at = |listen: &str, tls: &str| settings(&format!("{{gateway: {{listen: [\"{listen}\"]{tls}}}}}"));
    let (first, second) = (
        ", tls: {certificateFile: /a, keyFile: /a.key}",
        ", tls: {certificateFile: /b, keyFile: /b.key}",
    );
    let (here, elsewhere) = ("10.0.0.1:8080", "127.0.0.1:1");
    let started = at(here, first);
    for tls in ["", second] {
        let wanted = at(here, tls);
        let mut taken = wanted.clone();
        assert!(taken.keep_until_restart(&started, &started).is_empty(), "{tls}");
        assert_eq!(taken, wanted);
    }
    // It was given another while it ran, and is to move: until then it keeps that one.
    let in_force = at(here, second);
    for tls in ["", first] {
        let mut moved = at(elsewhere, tls);
        let kept = moved.keep_until_restart(&started, &in_force);
        assert!(
            kept.contains(&"spec.gateway.tls") && kept.contains(&"spec.gateway.listen"),
            "{kept:?}"
        );
        assert_eq!(moved, in_force);
    }
    let mut gone = settings("{}");
    assert_eq!(gone.keep_until_restart(&started, &in_force), ["spec.gateway"]);
    assert_eq!(gone, in_force);
}

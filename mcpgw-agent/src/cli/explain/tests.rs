use std::{fs, path::Path};

use clap::Parser;

use super::*;

const CONFIGURATION: &str = r#"
apiVersion: mcpgw.dev/v1alpha1
kind: ClusterMCPSettings
metadata: {name: default}
spec:
  externalBackends: [{namespaces: [tools, other], addresses: [10.0.0.0/8]}]
  exposure: []
  issuers: [{issuer: "https://issuer.example", audiences: [mcpgw]}]
---
apiVersion: mcpgw.dev/v1alpha1
kind: MCPServer
metadata: {name: files, namespace: elsewhere}
spec: {backend: {addresses: ["10.0.0.5:80"]}}
---
apiVersion: mcpgw.dev/v1alpha1
kind: MCPServer
metadata: {name: shown, namespace: other}
spec: {backend: {addresses: ["10.0.0.7:80"]}, exposeTo: {namespaces: [agents]}}
---
apiVersion: mcpgw.dev/v1alpha1
kind: MCPServer
metadata: {name: files, namespace: tools}
spec: {backend: {addresses: ["10.0.0.5:80"]}}
---
apiVersion: mcpgw.dev/v1alpha1
kind: Workload
metadata: {name: pod, namespace: agents}
spec: {serviceAccount: reader, cgroup: /agents/pod, mode: enforce}
---
apiVersion: mcpgw.dev/v1alpha1
kind: MCPPolicy
metadata: {name: p, namespace: tools}
spec:
  rules:
  - {action: Allow, from: [{serviceAccounts: [agents/reader]}], tools: [read], when: mcp.arguments.path.startsWith('/data/')}
  - {action: Allow, from: [{groups: [writers], claims: {realm: {tenant: blue}}}], tools: [write]}
  - {action: Deny, tools: [rm]}
---
apiVersion: mcpgw.dev/v1alpha1
kind: MCPServer
metadata: {name: trusted, namespace: other}
spec: {backend: {addresses: ["10.0.0.6:80"]}, trustAnnotations: true}
---
apiVersion: mcpgw.dev/v1alpha1
kind: MCPPolicy
metadata: {name: harmless, namespace: other}
spec:
  rules:
  - {action: Allow, annotations: {readOnly: true}}
"#;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    explain: Explain,
}

/// What the command says, with the configuration in a directory of its own.
fn explain(directory: &Path, flags: &[&str]) -> anyhow::Result<String> {
    explain_by(CONFIGURATION, directory, flags)
}

/// The same, with this configuration.
fn explain_by(configuration: &str, directory: &Path, flags: &[&str]) -> anyhow::Result<String> {
    let config = directory.join("config");
    fs::create_dir_all(&config)?;
    fs::write(config.join("a.yaml"), configuration)?;
    let desired = FileSource::load(&config)?;
    let config = config.display().to_string();
    let command = Command::try_parse_from(["explain", "--config", &config].iter().chain(flags))?;
    command.explain.answer(&desired)
}

fn about(flags: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let server = ["--server", "tools/files"];
    explain(directory.path(), &[&server, flags].concat()).unwrap()
}

#[test]
fn a_call_is_decided_as_the_proxy_decides_it_and_every_rule_says_why() {
    let reader = ["--identity", "agents/reader", "--tool", "read"];
    assert_eq!(
        about(&reader),
        "allow (tools/p#1)\ntool \"read\" of tools/files is listed, and allowed with some arguments at least\n\
         At the gateway this caller does not see the server (exposeTo)\n\n\
         RULE       ACTION  IN FORCE  SAYS\n\
         tools/p#1  Allow   yes       depends on the arguments\n\
         tools/p#2  Allow   yes       is about something else\n\
         tools/p#3  Deny    yes       is about something else\n"
    );
    let with = |arguments| about(&[&reader[..], &["--args", arguments]].concat());
    assert!(with(r#"{"path": "/data/a"}"#).starts_with("allow (tools/p#1)\ntool \"read\" of tools/files is allowed\n"));
    let refused = with(r#"{"path": "/etc/a"}"#);
    assert!(refused.starts_with("deny (default-deny)\n"), "{refused}");
    assert!(refused.contains("these arguments are refused (code 4030)"), "{refused}");
    assert!(with("{}").contains("cannot be evaluated: there is no \"path\""));
}

#[test]
fn a_workload_stands_for_its_service_account_and_claims_for_a_token() {
    assert!(about(&["--identity", "agents/pod", "--tool", "read"]).starts_with("allow (tools/p#1)"));
    let claims = r#"{"groups": ["writers"], "realm": {"tenant": "blue"}}"#;
    assert!(about(&["--claims", claims, "--tool", "write"]).starts_with("allow (tools/p#2)"));
    assert!(about(&["--identity", "agents/other", "--tool", "write"]).contains("answered like what does not exist"));
    assert!(about(&["--identity", "agents/reader", "--prompt", "x"]).starts_with("deny (default-deny)"));
}

#[test]
fn what_the_settings_do_not_grant_is_the_answer() {
    let directory = tempfile::tempdir().unwrap();
    let ask = |server| {
        let flags = ["--identity", "agents/reader", "--tool", "x", "--server", server];
        explain(directory.path(), &flags)
    };
    let refused = ask("elsewhere/files").unwrap_err().to_string();
    let expected = "MCPServer elsewhere/files is not served: NotGranted: externalBackends of ClusterMCPSettings does \
                    not grant 10.0.0.5 to namespace elsewhere";
    assert!(refused.starts_with(expected), "{refused}");
    let unseen = ask("other/shown").unwrap();
    let expected = "does not see the server (exposeTo)\nNotGranted: exposure of ClusterMCPSettings does not let servers \
                    of namespace other be shown to agents";
    assert!(unseen.contains(expected), "{unseen}");
}

#[test]
fn what_cannot_be_answered_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let error = |flags: &[&str]| explain(directory.path(), flags).unwrap_err().to_string();
    assert!(error(&[]).contains("required"));
    assert!(error(&["--tool", "x"]).contains("--server"));
    assert!(error(&["--workload", "a/b"]).contains("--to"));
    assert!(error(&["--tool", "x", "--prompt", "y", "--server", "a/b"]).contains("cannot be used with"));
    assert_eq!(
        error(&["--tool", "x", "--server", "tool/fils"]),
        "there is no MCPServer tool/fils in the configuration; the nearest known: elsewhere/files, tools/files, \
         other/shown"
    );
    assert_eq!(
        error(&["--tool", "x", "--server", "tools/files", "--args", "{"]),
        "--arguments"
    );
    assert!(error(&["--decision", "x"]).contains("--audit"));
}

#[test]
fn an_identity_that_nobody_names_is_answered_with_those_most_like_it() {
    let readr = about(&["--identity", "agents/readr", "--tool", "read"]);
    let expected = "No Workload and no rule names agents/readr, which is taken for a ServiceAccount: the nearest known: \
                    agents/reader, agents/pod\n";
    assert!(
        readr.starts_with("deny (default-deny)") && readr.contains(expected),
        "{readr}"
    );
    for known in ["agents/reader", "agents/pod"] {
        assert!(!about(&["--identity", known, "--tool", "read"]).contains("nearest"));
    }
    assert!(!about(&["--claims", "{}", "--tool", "read"]).contains("nearest"));
}

#[test]
fn a_decision_is_found_in_the_audit_log_with_its_rule() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit.jsonl");
    let line = |id: &str, rule: &str| {
        serde_json::json!({
            "time": "2026-01-02T03:04:05.678Z", "event": "tool_call", "node": "n", "path": "gateway",
            "decision": "deny", "rule": rule, "decisionId": id, "outcome": "denied", "tool": "rm",
            "server": "tools/files", "method": "tools/call",
            "identity": {"namespace": "agents", "serviceAccount": "reader", "workload": "pod", "pid": 7},
        })
        .to_string()
    };
    // What callers write is no line of ours.
    let hostile = line("ab-3", "tools/p#3").replace("\"rm\"", r#""rm\nallow (tools/p#1)\u001b[2J""#);
    let lines = [
        hostile,
        line("ab-1", "tools/p#3"),
        "no JSON ab-2".to_owned(),
        line("ab-2", "tools/p#1"),
    ];
    fs::write(&audit, lines.join("\n")).unwrap();
    let audit = audit.display().to_string();
    let of = |id| explain(directory.path(), &["--decision", id, "--audit", &audit]);
    assert_eq!(
        of("ab-1").unwrap(),
        "deny (tools/p#3)\n2026-01-02T03:04:05.678Z at n: tools/call tool rm of tools/files\n\
         by agents/reader (workload pod, pid 7), path gateway, outcome denied\n\n\
         The rule, as it is configured now:\n  action: Deny\n  tools: rm\n"
    );
    let hostile = of("ab-3").unwrap();
    assert!(
        hostile.contains("tool rm\\nallow (tools/p#1)\\u001b[2J of tools/files\n"),
        "{hostile}"
    );
    assert!(of("ab-2").unwrap().ends_with(
        "  action: Allow\n  from: serviceAccounts: agents/reader\n  tools: read\n  \
         when: mcp.arguments.path.startsWith('/data/')\n"
    ));
    assert!(
        of("ab")
            .unwrap_err()
            .to_string()
            .starts_with("there is no decision ab in ")
    );
}

#[test]
fn a_caller_that_proved_too_little_is_explained_with_what_is_wanted_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let more = "---\napiVersion: mcpgw.dev/v1alpha1\nkind: MCPPolicy\nmetadata: {name: proof, namespace: tools}\n\
                spec: {authentication: {mode: AttestedAndToken, issuers: [\"https://issuer.example\"]}}\n";
    let gateway = "spec:\n  gateway: {listen: [\"10.9.9.9:8080\"], authentication: {mode: Token}}\n";
    let text = CONFIGURATION.replacen("spec:\n", gateway, 1) + more;
    let audit = directory.path().join("audit.jsonl");
    let unread = serde_json::json!({
        "time": "2026-01-02T03:04:05.678Z", "event": "refused", "node": "n", "path": "gateway", "status": 401,
        "reason": "token_audience", "decisionId": "ab-1",
        "identity": {"namespace": null, "serviceAccount": null, "workload": null, "pid": null,
            "issuer": "https://issuer.example", "subject": "alice"},
    });
    let mut read = unread.clone();
    let known = serde_json::json!({
        "event": "tool_call", "decision": "deny", "rule": null, "reason": "no_token", "decisionId": "ab-2",
        "server": "tools/files", "method": "tools/call", "tool": "rm", "catalog": "office", "outcome": "denied",
    });
    read.as_object_mut().unwrap().extend(known.as_object().unwrap().clone());
    fs::write(&audit, format!("{unread}\n{read}\n")).unwrap();
    let audit = audit.display().to_string();
    let of = |id| explain_by(&text, directory.path(), &["--decision", id, "--audit", &audit]).unwrap();
    let rest = "its token is about alice, and of https://issuer.example\n\n\
                What proof of callers is wanted, as it is configured now (authentication):\n  Token at the gateway\n  \
                AttestedAndToken, of https://issuer.example by policy tools/proof\n";
    assert_eq!(
        of("ab-1"),
        format!(
            "refused (token_audience)\n2026-01-02T03:04:05.678Z at n: before anything of what it asks for was read\n\
             by -/- (workload -, pid -), path gateway, status 401\n{rest}"
        )
    );
    assert_eq!(
        of("ab-2"),
        format!(
            "deny (no_token)\n2026-01-02T03:04:05.678Z at n: tools/call tool rm of tools/files, through catalog office\n\
             by -/- (workload -, pid -), path gateway, outcome denied\n{rest}"
        )
    );
}

#[test]
fn an_engine_that_gave_no_answer_is_named_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit.jsonl");
    let line = |id: &str, error: Option<&str>| {
        let mut line = serde_json::json!({
            "event": "tool_call", "decision": "deny", "rule": null, "reason": "engine", "decisionId": id,
            "engine": "extAuthz", "method": "tools/call", "tool": "add", "server": "tools/files",
        });
        if let Some(error) = error {
            line["engineError"] = error.into();
        }
        line.to_string()
    };
    let lines = [line("a", Some("no answer\nwithin 0.2 s")), line("b", None)];
    fs::write(&audit, lines.join("\n")).unwrap();
    let audit = audit.display().to_string();
    let of = |id| explain(directory.path(), &["--decision", id, "--audit", &audit]).unwrap();
    let silent = of("a");
    let told = silent
        .lines()
        .find(|line| line.starts_with("extAuthz gave no answer: "));
    assert!(told.is_some_and(|told| told.ends_with("within 0.2 s")), "{silent}");
    assert!(!of("b").contains("gave no answer"), "it did, and denied it");
}

#[test]
fn a_limit_is_told_from_the_rule_of_the_same_number() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config");
    fs::create_dir_all(&config).unwrap();
    fs::write(
        config.join("limits.yaml"),
        "apiVersion: mcpgw.dev/v1alpha1\nkind: MCPPolicy\nmetadata: {name: fair, namespace: tools}\nspec:\n  \
         rules: [{action: Deny, tools: [x]}]\n  limits:\n  - {requests: 5, per: 1m, scope: Node, key: [identity, \
         \"claim:team\"]}\n  - {name: burst, concurrency: 2, scope: Node, tools: [\"a*\"]}\n",
    )
    .unwrap();
    let audit = directory.path().join("audit.jsonl");
    let line = |id: &str, rule: &str| serde_json::json!({"decisionId": id, "rule": rule}).to_string();
    let lines = [
        line("a", "tools/fair#limit-1"),
        line("b", "tools/fair#burst"),
        line("c", "tools/fair#1"),
        line("d", "tools/fair#limit-2"),
    ];
    fs::write(&audit, lines.join("\n")).unwrap();
    let audit = audit.display().to_string();
    let of = |id| explain(directory.path(), &["--decision", id, "--audit", &audit]).unwrap();
    assert!(
        of("a").ends_with(
            "The limit, as it is configured now:\n  counts: tools/call\n  requests: 5 per 1m, burst: 5\n  \
             key: identity, claim:team\n  scope: Node\n"
        ),
        "{}",
        of("a")
    );
    assert!(
        of("b").ends_with(
            "limit, as it is configured now:\n  counts: tools/call\n  tools: a*\n  concurrency: 2\n  scope: Node\n"
        ),
        "{}",
        of("b")
    );
    assert!(of("c").ends_with("The rule, as it is configured now:\n  action: Deny\n  tools: x\n"));
    assert!(
        !of("d").contains("as it is configured now"),
        "the second one has a name: {}",
        of("d")
    );
}

#[test]
fn what_a_server_says_of_a_tool_can_be_given() {
    let about = |flags: &[&str]| {
        let directory = tempfile::tempdir().unwrap();
        let question = ["--server", "other/trusted", "--tool", "add"];
        explain(directory.path(), &[&question, flags].concat()).unwrap()
    };
    assert!(about(&[]).starts_with("deny (default-deny)"));
    assert!(about(&["--annotations", r#"{"readOnlyHint": true}"#]).starts_with("allow (other/harmless#1)"));
}

const BESIDES: &str = r#"
apiVersion: mcpgw.dev/v1alpha1
kind: ClusterMCPSettings
metadata: {name: default}
spec:
  extAuthz: {address: "opa:9191", failureMode: Open}
  rateLimitService: {address: "ratelimit:8081"}
  issuers:
  - {issuer: "https://login.example", audiences: [mcpgw], claims: {subject: email, groups: realm_access.roles}}
  - {issuer: "https://cluster", audiences: [mcpgw], jwks: {file: /k}, kubernetes: {}}
---
apiVersion: mcpgw.dev/v1alpha1
kind: MCPServer
metadata: {name: files, namespace: tools}
spec: {backend: {addresses: ["10.0.0.5:80"]}, pin: Enforce, exposeTo: {namespaces: [agents]}}
---
apiVersion: mcpgw.dev/v1alpha1
kind: MCPCatalog
metadata: {name: few, namespace: tools}
spec: {servers: [{name: files, tools: {include: ["read*"]}}]}
---
apiVersion: mcpgw.dev/v1alpha1
kind: MCPPolicy
metadata: {name: p, namespace: tools}
spec:
  rules:
  - {action: Allow, from: [{groups: [readers]}, {serviceAccounts: [agents/reader]}]}
  - {action: Deny, tools: [rm]}
  limits:
  - {name: fair, requests: 5, per: 1m, scope: Node, key: [identity]}
  - {name: reads, concurrency: 2, scope: Node, tools: ["read*"]}
---
apiVersion: mcpgw.dev/v1alpha1
kind: MCPPolicy
metadata: {name: new, namespace: tools}
spec:
  enforcement: DryRun
  limits: [{requests: 9, per: 1h, scope: Cluster}]
"#;

/// What the command says of the files above.
fn besides(flags: &[&str]) -> anyhow::Result<String> {
    let directory = tempfile::tempdir().unwrap();
    let flags = [&["--server", "tools/files"], flags].concat();
    explain_by(BESIDES, directory.path(), &flags)
}

#[test]
fn what_a_call_would_meet_besides_the_rules_is_said_in_its_order() {
    let reader = ["--identity", "agents/reader"];
    let of = |flags: &[&str]| besides(&[&reader, flags].concat()).unwrap();
    let pinned =
        "Its definition is pinned: it is hidden, and refused with code 4031, unless that was approved (mcpgw pins)";
    let fair = "The limit tools/p#fair counts it (counts: tools/call; requests: 5 per 1m, burst: 5; key: identity; scope: Node)";
    let reads = "The limit tools/p#reads counts it (counts: tools/call; tools: read*; concurrency: 2; scope: Node)";
    let tried = "The limit tools/new#limit-1 counts it (only tried: counts: tools/call; requests: 9 per 1h, burst: 9; scope: Cluster)";
    let waits = "; the rate limit service is asked, and the call waits";
    let engine =
        "The policy engine at opa:9191 is asked about it, and may deny it; where that does not answer, it passes";
    let read = of(&["--tool", "read"]);
    let expected = format!("/mcp/few offers it as well\n{pinned}\n{engine}\n{fair}\n{reads}\n{tried}{waits}\n\nRULE ");
    assert!(read.contains(&expected), "{read}");
    let write = of(&["--tool", "write"]);
    let expected = format!("/mcp/few leaves it out, and refuses it\n{pinned}\n{engine}\n{fair}\n{tried}{waits}\n");
    assert!(write.contains(&expected), "{write}");
    let prompt = of(&["--prompt", "read"]);
    let expected = format!("/mcp/few offers it as well\n{engine}\n\nRULE ");
    assert!(prompt.contains(&expected), "{prompt}");
    let seen = of(&["--tool", "files_read"]);
    assert!(
        seen.contains(
            "files_read begins with the server's prefix, and rules see the server's own names: did you mean read?"
        ),
        "{seen}"
    );
    // Who does not see the server has it of no catalogue either.
    let hidden = explain_by(
        &BESIDES.replace("exposeTo: {namespaces: [agents]}", "exposeTo: {namespaces: [others]}"),
        tempfile::tempdir().unwrap().path(),
        &[
            "--server",
            "tools/files",
            "--identity",
            "agents/reader",
            "--tool",
            "read",
        ],
    )
    .unwrap();
    assert!(
        hidden.contains("does not see the server (exposeTo)") && hidden.contains("counts it"),
        "{hidden}"
    );
    assert!(!hidden.contains("/mcp/few"), "{hidden}");
    // What is denied meets nothing else.
    let denied = of(&["--tool", "rm"]);
    assert!(
        !denied.contains("counts it") && !denied.contains("opa:9191") && !denied.contains("/mcp/few"),
        "{denied}"
    );
    let json: Value = serde_json::from_str(&of(&["--tool", "read", "--json"])).unwrap();
    assert_eq!(json["besides"].as_array().unwrap().len(), 6, "{json}");
}

#[test]
fn claims_are_read_as_those_of_the_issuer_that_they_name() {
    let with = |claims: Value| besides(&["--tool", "read", "--claims", &claims.to_string()]);
    let roles = serde_json::json!({"roles": ["readers"]});
    let login = serde_json::json!({"iss": "https://login.example", "email": "a@b", "realm_access": roles});
    assert!(with(login).unwrap().starts_with("allow (tools/p#1)"));
    // Another claim is no group there.
    let other = serde_json::json!({"iss": "https://login.example", "groups": ["readers"]});
    assert!(with(other).unwrap().starts_with("deny (default-deny)"));
    let account = serde_json::json!({
        "iss": "https://cluster", "sub": "system:serviceaccount:agents:reader",
        "kubernetes.io": {"namespace": "agents", "serviceaccount": {"name": "reader", "uid": "u"}},
    });
    assert!(with(account.clone()).unwrap().starts_with("allow (tools/p#1)"));
    // Nobody else's is believed when it says so.
    let mut forged = account;
    forged["iss"] = "https://login.example".into();
    assert!(with(forged).unwrap().starts_with("deny (default-deny)"));
    let stranger = with(serde_json::json!({"iss": "https://evil.example"}))
        .unwrap_err()
        .to_string();
    assert!(
        stranger.contains("\"https://evil.example\" is no issuer of ClusterMCPSettings"),
        "{stranger}"
    );
}

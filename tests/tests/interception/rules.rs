//! Rules hold on every way to a tool: at the server's own address, at the gateway, through a catalogue.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result};
use mcpgw_tests::{Agent, Era, HttpAnswer, McpPeer, Node, Pod, Server, echo_request, resources, until};
use serde_json::{Value, json};

/// For what a server offers to be known at the gateway.
const KNOWN: Duration = Duration::from_secs(30);

/// A node with the server `tools/calculator`, a pod of the ServiceAccount `tools/research`, and a gateway with the
/// catalogue `few`. The fields end in this order.
struct Ways {
    agent: Agent,
    pod: Pod,
    server: Server,
    gateway: SocketAddr,
    _node: Node,
}

impl Ways {
    /// With these documents beside.
    fn new(policies: &[String]) -> Result<Self> {
        Self::with_server("", policies)
    }

    /// With these lines beside in what the server's document says, too.
    fn with_server(lines: &str, policies: &[String]) -> Result<Self> {
        let node = Node::new()?;
        let server = node.server("calculator", McpPeer::Rmcp)?;
        let pod = node.pod("agent").build()?;
        let gateway = SocketAddr::from((pod.gateway_ipv4(), 8080));
        let catalogue = "apiVersion: mcpgw.dev/v1alpha1\nkind: MCPCatalog\nmetadata: {namespace: tools, name: few}\n\
                         spec: {servers: [{name: calculator}]}\n";
        // Rules about groups need an issuer. Nobody here has a token of it.
        let issuers = "  issuers: [{issuer: \"https://issuer.invalid\", audiences: [mcpgw]}]\n";
        let mut documents = vec![
            resources::gateway(gateway) + issuers,
            resources::workload("tools", "research", &pod, "enforce"),
            resources::mcp_server("tools", "calculator", &server.addresses(), "/mcp") + lines,
            catalogue.to_owned(),
        ];
        documents.extend_from_slice(policies);
        node.configure("node.yaml", &documents)?;
        let agent = node.agent()?;
        until(KNOWN, "the server to be known", || {
            let status = agent.status().unwrap_or_default();
            status["offers"][0]["state"] == "Ready"
        })?;
        Ok(Self {
            agent,
            pod,
            server,
            gateway,
            _node: node,
        })
    }

    /// With the documents of an example.
    fn of_example(file: &str) -> Result<Self> {
        Self::new(&[example(file)?])
    }

    /// Every way to the server's tools: its URL, and what its tools are called there.
    fn all(&self) -> [(String, &'static str); 3] {
        let at = |path: &str| format!("http://{}{path}", self.gateway);
        [
            (self.server.url(), ""),
            (at("/mcp"), "calculator_"),
            (at("/mcp/few"), "calculator_"),
        ]
    }

    /// What a call gets on each way, in each era.
    fn call(&self, tool: &str, arguments: &Value) -> Result<Vec<Got>> {
        let mut got = Vec::new();
        for (url, prefix) in self.all() {
            for era in [Era::Legacy, Era::Modern] {
                let client = self.pod.mcp(&url).era(era);
                let answer = client.call(&format!("{prefix}{tool}"), arguments.clone())?;
                got.push(match (answer.text(), answer.error_code()) {
                    (Some(text), _) => Got::Result(text.to_owned()),
                    (None, Some(-32602)) => Got::Unknown,
                    (None, Some(4030)) => Got::Arguments,
                    (None, Some(4290)) => Got::Limited,
                    _ => anyhow::bail!("{tool} at {url} in {era:?}: {answer:?}"),
                });
            }
        }
        Ok(got)
    }

    /// The tools that each way lists, without their prefix.
    fn listed(&self) -> Result<Vec<Vec<String>>> {
        let mut listed = Vec::new();
        for (url, prefix) in self.all() {
            for era in [Era::Legacy, Era::Modern] {
                let mut tools = self.pod.mcp(&url).era(era).list()?;
                tools.sort_unstable();
                listed.push(
                    tools
                        .iter()
                        .map(|tool| tool.trim_start_matches(prefix).to_owned())
                        .collect(),
                );
            }
        }
        Ok(listed)
    }
}

fn example(file: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/examples/policies")
        .join(file);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// What a call got.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    Result(String),
    Unknown,
    Arguments,
    Limited,
}

/// The same on every way and in each era.
fn everywhere<T: Clone>(what: T) -> Vec<T> {
    vec![what; 6]
}

#[test]
fn a_denied_tool_is_refused_at_the_server_at_the_gateway_and_through_a_catalogue() -> Result<()> {
    let rules = ["{action: Allow}", "{action: Deny, tools: [delete_everything]}"];
    let ways = Ways::new(&[resources::policy("tools", "rules", &rules)])?;
    assert_eq!(ways.call("delete_everything", &json!({}))?, everywhere(Got::Unknown));
    assert_eq!(ways.server.executed("delete_everything")?, 0);
    let sum = json!({"a": 19, "b": 23});
    assert_eq!(ways.call("add", &sum)?, everywhere(Got::Result("42".to_owned())));
    assert_eq!(
        ways.listed()?,
        everywhere(vec!["add".to_owned(), "echo".to_owned(), "get_time".to_owned()])
    );
    // One rule made every decision, by the server's own name for the tool.
    let denied: Vec<Value> = ways
        .agent
        .audit()
        .into_iter()
        .filter(|line| line["decision"] == "deny")
        .collect();
    assert_eq!(denied.len(), 6, "{denied:?}");
    for line in &denied {
        assert_eq!(
            (&line["rule"], &line["tool"]),
            (&"tools/rules#2".into(), &"delete_everything".into())
        );
    }
    Ok(())
}

#[test]
fn the_example_for_a_team_lets_it_read_and_nobody_else_do_anything() -> Result<()> {
    let ways = Ways::of_example("read-only-for-a-team.yaml")?;
    // The pod is `tools/research`, and the team is `agents/research`.
    assert_eq!(ways.call("add", &json!({"a": 1, "b": 2}))?, everywhere(Got::Unknown));
    assert_eq!(ways.listed()?, everywhere(Vec::<String>::new()));
    drop(ways);
    let text = example("read-only-for-a-team.yaml")?;
    let ways = Ways::new(&[text.replace("agents/research", "tools/research")])?;
    assert_eq!(
        ways.call("add", &json!({"a": 1, "b": 2}))?,
        everywhere(Got::Result("3".to_owned()))
    );
    assert_eq!(ways.call("delete_everything", &json!({}))?, everywhere(Got::Unknown));
    assert_eq!(
        ways.listed()?,
        everywhere(vec!["add".to_owned(), "echo".to_owned(), "get_time".to_owned()])
    );
    Ok(())
}

#[test]
fn the_example_against_destruction_denies_it_everywhere_and_nothing_else() -> Result<()> {
    let ways = Ways::of_example("no-destructive-tools.yaml")?;
    assert_eq!(ways.call("delete_everything", &json!({}))?, everywhere(Got::Unknown));
    assert_eq!(
        ways.call("add", &json!({"a": 1, "b": 2}))?,
        everywhere(Got::Result("3".to_owned()))
    );
    assert_eq!(ways.server.executed("delete_everything")?, 0);
    Ok(())
}

#[test]
fn the_example_about_annotations_believes_a_trusted_server_and_no_other() -> Result<()> {
    let example = example("no-destructive-annotations.yaml")?;
    let sum = json!({"a": 1, "b": 2});
    let trusted = Ways::with_server("  trustAnnotations: true\n", std::slice::from_ref(&example))?;
    assert_eq!(trusted.call("add", &sum)?, everywhere(Got::Result("3".to_owned())));
    assert_eq!(trusted.call("delete_everything", &json!({}))?, everywhere(Got::Unknown));
    assert_eq!(
        trusted.listed()?,
        everywhere(vec!["add".to_owned(), "echo".to_owned(), "get_time".to_owned()])
    );
    assert_eq!(trusted.server.executed("delete_everything")?, 0);
    drop(trusted);
    let untrusted = Ways::new(&[example])?;
    assert_eq!(untrusted.call("add", &sum)?, everywhere(Got::Unknown));
    assert_eq!(untrusted.listed()?, everywhere(Vec::<String>::new()));
    assert_eq!(untrusted.server.executed("add")?, 0);
    Ok(())
}

#[test]
fn the_example_for_arguments_lets_small_numbers_pass_and_refuses_others() -> Result<()> {
    let ways = Ways::of_example("constrained-arguments.yaml")?;
    let small = json!({"a": 1, "b": 2});
    assert_eq!(ways.call("add", &small)?, everywhere(Got::Result("3".to_owned())));
    for large in [json!({"a": 1001, "b": 2}), json!({"a": 1}), json!({"a": "1", "b": 2})] {
        assert_eq!(ways.call("add", &large)?, everywhere(Got::Arguments), "{large}");
    }
    let secret = json!({"message": "the Password is x"});
    assert_eq!(ways.call("echo", &secret)?, everywhere(Got::Arguments));
    assert_eq!(
        ways.call("echo", &json!({"message": "x"}))?,
        everywhere(Got::Result("x".to_owned()))
    );
    assert_eq!(ways.call("get_time", &json!({}))?, everywhere(Got::Unknown));
    assert_eq!(ways.server.executed("add")?, 6);
    Ok(())
}

#[test]
fn the_example_for_fair_shares_gives_one_budget_for_all_ways_together() -> Result<()> {
    let text = example("fair-share.yaml")?;
    assert!(text.contains("requests: 100\n") && text.contains("burst: 100\n"));
    // Four instead, which take fifteen seconds each to come back.
    let ways = Ways::new(&[text.replace(": 100\n", ": 4\n")])?;
    let got = ways.call("add", &json!({"a": 1, "b": 2}))?;
    let (passed, limited) = got.split_at(4);
    assert_eq!(passed, vec![Got::Result("3".to_owned()); 4], "{got:?}");
    assert_eq!(limited, [Got::Limited, Got::Limited], "{got:?}");
    assert_eq!(ways.server.executed("add")?, 4);
    let metrics = ways.agent.metrics()?;
    let counted = |path: &str| {
        metrics
            .lines()
            .any(|line| line.starts_with("mcp_tool_calls_total") && line.contains("limited") && line.contains(path))
    };
    assert!(counted("path=\"gateway\""), "{metrics}");
    Ok(())
}

#[test]
fn the_example_for_a_servers_credential_shows_it_on_every_way_and_never_the_callers() -> Result<()> {
    let node = Node::new()?;
    let server = node.server("search", McpPeer::Echo)?;
    let pod = node.pod("agent").build()?;
    let gateway = SocketAddr::from((pod.gateway_ipv4(), 8080));
    let file = node.state_directory().join("search-token");
    fs::write(&file, "the-servers-first\n")?;
    let mut text = example("per-server-credential.yaml")?;
    for (placeholder, real) in [
        ("10.0.0.7:8080", server.address().to_string()),
        ("/etc/mcpgw/search-token", file.display().to_string()),
    ] {
        assert!(text.contains(placeholder), "{placeholder}");
        text = text.replace(placeholder, &real);
    }
    node.configure(
        "node.yaml",
        &[
            text,
            resources::gateway(gateway),
            resources::workload("tools", "research", &pod, "enforce"),
        ],
    )?;
    let mut agent = node.agent()?;
    until(KNOWN, "the server to be known", || {
        let status = agent.status().unwrap_or_default();
        status["offers"][0]["state"] == "Ready"
    })?;
    // What the server says that it was shown.
    let shown = |address: SocketAddr, tool: &str| -> Result<Value> {
        let mut call = echo_request("n");
        call["params"]["name"] = tool.into();
        let body = call.to_string();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: search\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Authorization: Bearer the-callers-own\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = HttpAnswer::parse(&pod.send(address, request.as_bytes(), &[])?.received)?;
        let answer: Value = serde_json::from_str(&answer.body).with_context(|| answer.body.clone())?;
        Ok(answer["result"]["structuredContent"]["credentials"].clone())
    };
    let ways = [(server.address(), "echo"), (gateway, "search_echo")];
    for (address, tool) in ways {
        assert_eq!(shown(address, tool)?, json!(["Bearer the-servers-first"]), "{address}");
    }
    fs::write(&file, "the-servers-second\n")?;
    for (address, tool) in ways {
        until(KNOWN, "the second to be shown", || {
            shown(address, tool).is_ok_and(|shown| shown == json!(["Bearer the-servers-second"]))
        })?;
    }
    agent.terminate()?;
    let process = agent.process();
    let written = [process.stdout().all(), process.stderr().all()].concat().join("\n");
    for secret in ["the-servers-first", "the-servers-second", "the-callers-own"] {
        assert!(!written.contains(secret), "{written}");
    }
    Ok(())
}

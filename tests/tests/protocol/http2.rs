//! HTTP/2 as TLS agrees on it, by Node's implementation; and HTTP/2 by curl, as an operator tries it.

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{Agent, CERTIFICATE, KEY, McpPeer, Node, Pod, Server, resources, until};
use serde_json::{Value, json};

use crate::{
    clients::{Client, Wire},
    scene::KNOWN,
};

/// Whom the certificate is of: the server and the gateway.
const NAME: &str = "calculator.test";

/// A server, the gateway, and a pod that is governed. The fields end in this order.
struct Scene {
    #[allow(dead_code, reason = "held while the scene lasts")]
    agent: Agent,
    pod: Pod,
    server: Server,
    gateway: SocketAddr,
    certificate: PathBuf,
    _node: Node,
}

impl Scene {
    /// With TLS everywhere, or nowhere.
    fn new(peer: McpPeer) -> Result<Self> {
        let node = Node::new()?;
        let [certificate, key] = [CERTIFICATE, KEY].map(|name| node.state_directory().join(name));
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        fs::write(&certificate, made.cert.pem()).context("write the certificate")?;
        fs::write(&key, made.signing_key.serialize_pem()).context("write its key")?;
        let server = node.server("calc", peer)?;
        let pod = node.pod("agent").build()?;
        let gateway = SocketAddr::from((pod.gateway_ipv4(), 8080));
        let mut settings = resources::gateway(gateway);
        let mut document = resources::mcp_server("tools", "calc", &[server.address()], "/mcp");
        if peer == McpPeer::TypeScriptTls {
            let files = format!("certificateFile: {}, keyFile: {}", certificate.display(), key.display());
            settings = settings.replace("authentication:", &format!("tls: {{{files}}}, authentication:"));
            document.push_str(&format!(
                "  tls: {{serverName: {NAME}, caFile: {}}}\n  clientTLS: {{mode: Terminate, {files}}}\n",
                certificate.display()
            ));
        }
        let rules = ["{action: Allow}", "{action: Deny, tools: [fail]}"];
        node.configure(
            "node.yaml",
            &[
                settings,
                resources::workload("tools", "research", &pod, "enforce"),
                resources::policy("tools", "rules", &rules),
                document,
            ],
        )?;
        let agent = node.agent()?;
        until(KNOWN, "the server to be known", || {
            agent.status().unwrap_or_default()["offers"][0]["state"] == "Ready"
        })?;
        Ok(Self {
            agent,
            pod,
            server,
            gateway,
            certificate,
            _node: node,
        })
    }

    /// Where a client dials, and what stands before the names of tools there.
    fn ways(&self) -> [(SocketAddr, &'static str); 2] {
        [(self.server.address(), ""), (self.gateway, "calc_")]
    }

    /// What curl says to a POST: the version that was spoken, the status, the session, and the message.
    fn curl(&self, url: &str, more: &[&str], body: &Value) -> Result<(String, String, String, Value)> {
        let mut command = self.pod.command("curl")?;
        command
            .args(["-sS", "--max-time", "20", url, "-H", "Content-Type: application/json"])
            .args(["-H", "Accept: application/json, text/event-stream"])
            .args(["-w", "\n%{http_version} %{http_code} %header{mcp-session-id}"])
            .args(["-d", &body.to_string()])
            .args(more);
        let output = command.output().context("run curl")?;
        let said = String::from_utf8(output.stdout)?;
        ensure!(
            output.status.success(),
            "curl: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let (answer, told) = said.rsplit_once('\n').context("curl said nothing")?;
        // A message stands alone, or in an event.
        let data = answer
            .lines()
            .rfind(|line| line.contains("\"jsonrpc\""))
            .unwrap_or_default();
        let message = serde_json::from_str(data.trim_start_matches("data:")).unwrap_or_default();
        let mut told = told.split(' ').map(str::to_owned);
        let mut next = || told.next().unwrap_or_default();
        Ok((next(), next(), next(), message))
    }
}

#[test]
fn http2_is_agreed_on_in_tls_by_clients_and_by_servers() -> Result<()> {
    let scene = Scene::new(McpPeer::TypeScriptTls)?;
    let wire = Wire::Tls(NAME, &scene.certificate);
    for client in [Client::TypeScript, Client::TypeScript2] {
        for era in client.eras() {
            for (address, prefix) in scene.ways() {
                let call = |name: &str, arguments: Value| json!({"do": "call", "name": format!("{prefix}{name}"), "arguments": arguments});
                let steps = json!([
                    {"do": "tools"},
                    call("add", json!({"a": 2, "b": 3})),
                    call("fail", json!({"message": "no"})),
                ]);
                let gave = client.run(&scene.pod, &format!("https://{address}/mcp"), *era, wire, &steps)?;
                let names: Vec<_> = gave[0]["items"]
                    .as_array()
                    .with_context(|| format!("no tools: {gave:?}"))?
                    .iter()
                    .filter_map(|tool| tool["name"].as_str()?.strip_prefix(prefix))
                    .collect();
                assert!(names.contains(&"add") && !names.contains(&"fail"), "{names:?}");
                assert_eq!(
                    gave[1]["result"]["structuredContent"]["total"], 5,
                    "{client:?} {address} {gave:?}"
                );
                assert_eq!(gave[2]["error"]["code"], -32602, "{client:?} {address} {gave:?}");
            }
        }
    }
    assert_eq!(scene.server.direct_from(&scene.pod), 0);
    Ok(())
}

#[test]
fn curl_speaks_http2_to_servers_and_to_the_gateway() -> Result<()> {
    let scene = Scene::new(McpPeer::TypeScript)?;
    let opening = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "curl", "version": "7"}
    }});
    let listing = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    // With prior knowledge, and as an upgrade of HTTP/1.1, which a server may leave be.
    for (option, version) in [("--http2-prior-knowledge", "2"), ("--http2", "1.1")] {
        for (address, prefix) in scene.ways() {
            let url = format!("http://{address}/mcp");
            let (spoken, status, session, opened) = scene.curl(&url, &[option], &opening)?;
            assert_eq!((spoken.as_str(), status.as_str()), (version, "200"), "{opened}");
            assert!(opened["result"]["capabilities"].is_object(), "{opened}");
            let session = format!("Mcp-Session-Id: {session}");
            let more = [option, "-H", &session, "-H", "MCP-Protocol-Version: 2025-11-25"];
            let (_, _, _, listed) = scene.curl(&url, &more, &listing)?;
            let names = listed["result"]["tools"].to_string();
            assert!(
                names.contains(&format!("\"{prefix}add\"")) && !names.contains("fail"),
                "{listed}"
            );
            for (tool, arguments) in [("add", json!({"a": 2, "b": 3})), ("fail", json!({"message": "no"}))] {
                let name = format!("{prefix}{tool}");
                let asked = json!({
                    "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": name, "arguments": arguments}
                });
                let (spoken, status, _, answer) = scene.curl(&url, &more, &asked)?;
                assert_eq!((spoken.as_str(), status.as_str()), (version, "200"), "{answer}");
                match tool {
                    "add" => assert_eq!(answer["result"]["structuredContent"]["total"], 5, "{answer}"),
                    _ => assert_eq!(answer["error"]["code"], -32602, "{answer}"),
                }
            }
        }
    }
    assert_eq!(scene.server.direct_from(&scene.pod), 0);
    Ok(())
}

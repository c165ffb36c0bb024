//! The node: servers, the floor, mcpgw, and the pods that load comes from.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{Agent, AgentOptions, Node, Pod, Process, resources, until};

use super::{measure::Case, peers::Peer};

/// Port of the servers.
const SERVER: u16 = 3001;
/// Ports of the floors: of the one that forwards to one server, the one that forwards to the server with as many tools
/// as all servers of the gateway have together, and the one that forwards to the server that answers with streams.
const FLOORS: [u16; 3] = [9001, 9002, 9003];
const GATEWAY: u16 = 8080;
/// The policy of the strict server: a token, rules that read arguments and claims, limits by identity and tool.
const STRICT: &str = r#"apiVersion: mcpgw.dev/v1alpha1
kind: MCPPolicy
metadata: {namespace: tools, name: strict}
spec:
  targetRefs: [{kind: MCPServer, name: strict}]
  authentication: {mode: AttestedAndToken}
  rules:
    - action: Allow
      from: [{groups: [bench], claims: {team: {name: ben*}}}]
      tools: ["tool_*"]
      when: size(mcp.arguments.text) < 1000 && identity.namespace == "tools" && jwt.claims.team.name.startsWith("b")
    - {action: Deny, tools: ["delete_*", "*_purge"]}
    - {action: Deny, tools: [tool_000], when: mcp.arguments.text.contains("rm -rf")}
  limits:
    - {name: often, requests: 1000000, per: 1s, key: [identity, server, tool], scope: Node}
    - {name: at-a-time, concurrency: 1000, key: [identity], scope: Node}
"#;
/// For everything to be up.
const UP: Duration = Duration::from_secs(20);

/// Which of the floors a case is compared with.
fn floor_of(case: Case) -> usize {
    match case {
        Case::ListFederated => 1,
        Case::CallStreamed => 2,
        _ => 0,
    }
}

/// The fields end in this order.
pub struct Scene {
    agent: Agent,
    floors: [Process; 3],
    peers: [Process; 2],
    _servers: Vec<(Process, Pod)>,
    /// A pod that is governed.
    pub governed: Pod,
    /// A pod that is not.
    pub free: Pod,
    /// The server that is called.
    pub server: SocketAddr,
    /// One server with all tools.
    pub large: SocketAddr,
    /// A server that answers calls with streams.
    pub streamed: SocketAddr,
    /// A server whose callers need a token, and whose policies look at everything.
    pub strict: SocketAddr,
    issuer: tempfile::TempDir,
    _configuration: tempfile::TempDir,
    node: Node,
}

impl Scene {
    /// Sets it, with the programs in this directory.
    pub fn set(binaries: &Path) -> Result<Self> {
        // SAFETY: nothing else runs in this process yet that could read the environment.
        unsafe { std::env::set_var("MCPGW_TEST_BINARIES", binaries) };
        let program = binaries.join("mcpgw-bench");
        let node = Node::new()?;
        let mut servers = Vec::new();
        for (name, tools) in [
            ("one", "50"),
            ("two", "50"),
            ("three", "50"),
            ("large", "150"),
            ("strict", "50"),
            ("streamed", "50"),
        ] {
            let pod = node.pod(name).build()?;
            let mut command = pod.command(&program)?;
            command.args(["upstream", "--port", &SERVER.to_string(), "--tools", tools]);
            if name == "streamed" {
                command.arg("--streams");
            }
            servers.push((Process::spawn(name, command)?, pod));
        }
        let address = |index: usize| SocketAddr::from((servers[index].1.ipv4(), SERVER));
        let (server, large, strict, streamed) = (address(0), address(3), address(4), address(5));
        let issuer = tempfile::tempdir()?;
        let mut make = Command::new(&program);
        make.args(["issuer", "--directory"]).arg(issuer.path());
        ensure!(make.status()?.success(), "no issuer could be made");
        let floor = |index: usize, to: SocketAddr| {
            let mut command = node.command(&program)?;
            command.args(["floor", "--port", &FLOORS[index].to_string(), "--to", &to.to_string()]);
            Process::spawn("floor", command)
        };
        let floors = [floor(0, server)?, floor(1, large)?, floor(2, streamed)?];
        let configuration = tempfile::tempdir()?;
        let peer = |peer: Peer| peer.start(&node, configuration.path(), server);
        let peers = [peer(Peer::Nginx)?, peer(Peer::Haproxy)?];
        let (governed, free) = (node.pod("governed").build()?, node.pod("free").build()?);
        let gateway = SocketAddr::from((governed.gateway_ipv4(), GATEWAY));
        let mut documents = vec![
            resources::gateway(gateway)
                + &format!(
                    "  issuers: [{{issuer: \"https://issuer.bench\", jwks: {{file: {}}}, audiences: [mcpgw]}}]\n",
                    issuer.path().join("jwks.json").display()
                ),
            resources::workload("tools", "load", &governed, "enforce"),
        ];
        for (index, (name, _)) in [("one", 0), ("two", 1), ("three", 2)].iter().enumerate() {
            documents.push(resources::mcp_server("tools", name, &[address(index)], "/mcp"));
        }
        documents.push(resources::mcp_server("tools", "strict", &[strict], "/mcp"));
        // In a namespace of its own: at the gateway the load sees the three.
        documents.push(resources::mcp_server("streams", "streamed", &[streamed], "/mcp"));
        documents.push(STRICT.to_owned());
        node.configure("node.yaml", &documents)?;
        // To a file, as the target for a call with everything says.
        let audit = issuer.path().join("audit.jsonl").display().to_string();
        let agent = node.agent_with(AgentOptions {
            arguments: vec!["--audit".to_owned(), audit],
            ..AgentOptions::default()
        })?;
        until(UP, "all servers to be known", || {
            let status = agent.status().unwrap_or_default();
            let offers = status["offers"].as_array();
            offers.is_some_and(|offers| offers.iter().all(|offers| offers["state"] == "Ready"))
        })?;
        Ok(Self {
            agent,
            floors,
            peers,
            _configuration: configuration,
            _servers: servers,
            governed,
            free,
            server,
            large,
            streamed,
            strict,
            issuer,
            node,
        })
    }

    /// The file with the token that is good at the strict server.
    pub fn token(&self) -> PathBuf {
        self.issuer.path().join("token")
    }

    /// Where the floor of a case listens.
    pub fn floor(&self, case: Case) -> SocketAddr {
        SocketAddr::from((self.free.gateway_ipv4(), FLOORS[floor_of(case)]))
    }

    /// Where another proxy listens.
    pub fn peer(&self, peer: Peer) -> SocketAddr {
        SocketAddr::from((self.free.gateway_ipv4(), peer.port()))
    }

    /// The process of another proxy.
    pub fn peer_pid(&self, peer: Peer) -> u32 {
        let index = Peer::ALL.iter().position(|other| *other == peer).unwrap_or_default();
        self.peers[index].pid()
    }

    /// Where the gateway listens.
    pub fn gateway(&self) -> SocketAddr {
        SocketAddr::from((self.governed.gateway_ipv4(), GATEWAY))
    }

    /// The processes whose work is measured.
    pub fn pids(&self, case: Case) -> (u32, u32) {
        (self.agent_pid(), self.floors[floor_of(case)].pid())
    }

    fn agent_pid(&self) -> u32 {
        self.agent.pid()
    }

    /// What mcpgw has in memory.
    pub fn resident_megabytes(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.agent_pid())).context("read its memory")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line
            .and_then(|line| line.trim().strip_suffix(" kB"))
            .context("no VmRSS")?;
        Ok(kilobytes.trim().parse::<f64>()? / 1024.0)
    }

    /// The node's name, for messages.
    pub fn name(&self) -> &str {
        self.node.name()
    }
}

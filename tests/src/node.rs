//! A node: a network namespace that routes between its pods, a cgroup that holds them, and an agent's
//! directories.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Once,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{
    Agent, AgentOptions, McpPeer, PodBuilder, Server, binary, bpffs,
    cgroup::{self, Cgroup},
    links::{self, End},
    netns::NetNs,
    privileges,
};

/// Begins the names of everything that fixtures make; the process id and a number follow.
const PREFIX: &str = "mcpgw-test-";

/// All pods of a node are in these networks, each in a /24 or /64 of its own.
pub(crate) const PODS_V4: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::new(10, 66, 0, 0)), 16);
pub(crate) const PODS_V6: (IpAddr, u8) = (IpAddr::V6(Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, 0)), 48);

/// A node. Its pods, servers and agents keep what they need of it alive.
#[derive(Clone)]
pub struct Node(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub name: String,
    pub netns: NetNs,
    pub next_pod: AtomicU16,
    directory: TempDir,
    pins: PathBuf,
    // Last of all: processes end and cgroups go when nothing else is left. Children before their parent.
    agent: Cgroup,
    pub outside: Cgroup,
    kubepods: Cgroup,
    cgroup: Cgroup,
}

impl Node {
    /// Makes a node without pods, with forwarding on and no route to anywhere else.
    pub fn new() -> Result<Self> {
        static SWEPT: Once = Once::new();
        static NODES: AtomicU32 = AtomicU32::new(1);
        privileges::check()?;
        SWEPT.call_once(|| {
            if let Err(error) = sweep() {
                eprintln!("fixtures: sweep what an earlier process left behind: {error:#}");
            }
        });
        let name = format!(
            "{PREFIX}{}-{}",
            std::process::id(),
            NODES.fetch_add(1, Ordering::Relaxed)
        );
        let netns = NetNs::new()?;
        netns.sysctl("net/ipv4/ip_forward", "1")?;
        netns.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        netns.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        links::set_up(&netns, "lo", true)?;
        let directory = tempfile::Builder::new()
            .prefix(&name)
            .tempdir()
            .context("make the node's directory")?;
        for part in ["config", "state"] {
            fs::create_dir(directory.path().join(part)).with_context(|| format!("make the node's {part} directory"))?;
        }
        let pins = bpffs::ensure()?.join(&name);
        fs::create_dir(&pins).with_context(|| format!("make {}", pins.display()))?;
        let cgroup = Cgroup::create(&name)?;
        let below = |child: &str| Cgroup::create(Path::new(&name).join(child));
        Ok(Self(Arc::new(Inner {
            pins,
            agent: below("agent")?,
            outside: below("outside")?,
            kubepods: below("kubepods")?,
            cgroup,
            netns,
            next_pod: AtomicU16::new(1),
            directory,
            name,
        })))
    }

    /// A pod to be built. `name` is the workload's name, too.
    pub fn pod(&self, name: &str) -> PodBuilder {
        PodBuilder::new(self, name)
    }

    /// A pod with a running MCP server, ready to answer.
    pub fn server(&self, name: &str, peer: McpPeer) -> Result<Server> {
        Server::start(self.pod(name), peer)
    }

    /// Lays a cable to another node, and returns the addresses of both ends: this node's, and the other's.
    pub fn cable_to(&self, other: &Self) -> Result<(IpAddr, IpAddr)> {
        let [own, others] = [1, 2].map(|host| IpAddr::from([10, 67, 0, host]));
        let [near, far] = [(self, own), (other, others)].map(|(node, address)| End {
            netns: &node.0.netns,
            name: "cable0",
            addresses: vec![(address, 30)],
        });
        links::cable(&near, &far)?;
        Ok((own, others))
    }

    /// Starts `mcpgw run` and waits until it is ready.
    pub fn agent(&self) -> Result<Agent> {
        self.agent_with(AgentOptions::default())
    }

    /// Starts `mcpgw run` with options.
    pub fn agent_with(&self, options: AgentOptions) -> Result<Agent> {
        Agent::start(self, options)
    }

    /// A `mcpgw` command as an operator on the node would run it, with the node's directories in its environment.
    pub fn mcpgw(&self) -> Result<Command> {
        let mut command = Command::new(binary("mcpgw")?);
        command.envs(self.environment());
        self.0.agent.enter(&mut command, &self.0.netns)?;
        Ok(command)
    }

    /// A command that runs on the node, outside of every pod and of the agent.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let mut command = Command::new(program);
        self.0.outside.enter(&mut command, &self.0.netns)?;
        Ok(command)
    }

    /// Writes a file of YAML documents into the configuration directory, in one step, as an editor does.
    pub fn configure(&self, file: &str, documents: &[String]) -> Result<()> {
        let target = self.config_directory().join(file);
        let draft = self.0.directory.path().join(format!("{file}.draft"));
        fs::write(&draft, documents.join("---\n")).with_context(|| format!("write {}", draft.display()))?;
        fs::rename(&draft, &target).with_context(|| format!("put {} in place", target.display()))
    }

    /// Its name, unique on this machine.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The network namespace that the agent runs in and that routes between the pods.
    pub fn netns(&self) -> &NetNs {
        &self.0.netns
    }

    /// The cgroup above everything of this node.
    pub fn cgroup(&self) -> &Cgroup {
        &self.0.cgroup
    }

    /// The cgroup above all pods: where the agent attaches.
    pub fn kubepods(&self) -> &Cgroup {
        &self.0.kubepods
    }

    /// The agent's configuration directory.
    pub fn config_directory(&self) -> PathBuf {
        self.0.directory.path().join("config")
    }

    /// The agent's state directory: lock and Unix socket.
    pub fn state_directory(&self) -> PathBuf {
        self.0.directory.path().join("state")
    }

    /// The directory in bpffs below which this node's agent pins. To the agent it is all there is of bpffs.
    pub fn pin_directory(&self) -> &Path {
        &self.0.pins
    }

    /// The environment that tells `mcpgw` about this node.
    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("MCPGW_NODE", PathBuf::from(self.name())),
            ("MCPGW_CONFIG", self.config_directory()),
            ("MCPGW_STATE_DIR", self.state_directory()),
            ("MCPGW_BPFFS", self.0.pins.clone()),
            ("MCPGW_CGROUP", self.0.kubepods.directory().to_owned()),
        ]
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The processes first, so that nobody pins anew.
        if let Err(error) = self.cgroup.kill().and_then(|()| bpffs::remove(&self.pins)) {
            eprintln!("fixtures: {}: {error:#}", self.name);
        }
    }
}

/// Removes cgroups, pins and directories of test processes that were killed.
fn sweep() -> Result<()> {
    for path in abandoned(&cgroup::mount()?)? {
        cgroup::remove(&path)?;
    }
    for place in [bpffs::ensure()?, std::env::temp_dir()] {
        for path in abandoned(&place)? {
            bpffs::remove(&path)?;
        }
    }
    Ok(())
}

/// What bears our prefix in `place` and the id of a process that is gone.
fn abandoned(place: &Path) -> Result<Vec<PathBuf>> {
    let dead = |name: &str| {
        let pid = name.strip_prefix(PREFIX)?.split('-').next()?;
        // A zombie has no executable any more.
        fs::read_link(format!("/proc/{pid}/exe")).is_err().then_some(())
    };
    let entries = fs::read_dir(place).with_context(|| format!("list {}", place.display()))?;
    Ok(entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().and_then(dead).is_some())
        .map(|e| e.path())
        .collect())
}

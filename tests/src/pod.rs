//! A pod: a network namespace on a cable to the node, and a cgroup with a name as a kubelet gives it.

use std::{
    ffi::OsStr,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, ensure};

use crate::{
    McpClient, Node, Process, binary,
    cgroup::Cgroup,
    links::{self, End},
    mounts,
    netns::NetNs,
    node::{PODS_V4, PODS_V6},
};

/// A pod's quality of service: where the kubelet puts its cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Qos {
    /// `kubepods/pod<uid>`: one level higher than the others.
    Guaranteed,
    /// `kubepods/burstable/pod<uid>`.
    #[default]
    Burstable,
    /// `kubepods/besteffort/pod<uid>`.
    BestEffort,
}

/// A pod to be built; see [`Node::pod`].
pub struct PodBuilder {
    node: Node,
    name: String,
    number: u16,
    qos: Qos,
    ipv6: bool,
    loopback: bool,
    pause: bool,
}

impl PodBuilder {
    pub(crate) fn new(node: &Node, name: &str) -> Self {
        let number = node.0.next_pod.fetch_add(1, Ordering::Relaxed);
        let (node, name) = (node.clone(), name.to_owned());
        Self {
            node,
            name,
            number,
            qos: Qos::default(),
            ipv6: true,
            loopback: true,
            pause: true,
        }
    }

    /// Its quality of service.
    pub fn qos(mut self, qos: Qos) -> Self {
        self.qos = qos;
        self
    }

    /// Without IPv6, not even on `lo`.
    pub fn without_ipv6(mut self) -> Self {
        self.ipv6 = false;
        self
    }

    /// With `lo` down, as in a sandbox that is not set up yet; see [`Pod::loopback`].
    pub fn loopback_down(mut self) -> Self {
        self.loopback = false;
        self
    }

    /// Without the process that keeps a pod's cgroup populated.
    pub fn without_pause(mut self) -> Self {
        self.pause = false;
        self
    }

    /// The pod-level cgroup that it will have, as a path below the cgroup v2 mount.
    pub fn cgroup_path(&self) -> PathBuf {
        let uid = format!("pod{:08x}-66aa-4bcd-8def-{:012x}", std::process::id(), self.number);
        let level = match self.qos {
            Qos::Guaranteed => "",
            Qos::Burstable => "burstable",
            Qos::BestEffort => "besteffort",
        };
        self.node.kubepods().path().join(level).join(uid)
    }

    /// Makes the pod: namespace, cable, addresses, cgroups.
    pub fn build(self) -> Result<Pod> {
        ensure!(self.number < 255, "a node has room for 254 pods");
        let netns = NetNs::new()?;
        netns.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        if !self.ipv6 {
            netns.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
            netns.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        }
        if self.loopback {
            links::set_up(&netns, "lo", true)?;
        }
        let number = self.number;
        let addresses = |host: u8| {
            let v4 = Ipv4Addr::new(10, 66, number as u8, host);
            let v6 = Ipv6Addr::new(0xfd66, 0, 0, number, 0, 0, 0, host.into());
            let mut all = vec![(IpAddr::V4(v4), 24)];
            all.extend(self.ipv6.then_some((IpAddr::V6(v6), 64)));
            all
        };
        let (gateways, own) = (addresses(1), addresses(2));
        let near = format!("pod{number}");
        links::cable(
            &End {
                netns: self.node.netns(),
                name: &near,
                addresses: gateways.clone(),
            },
            &End {
                netns: &netns,
                name: "eth0",
                addresses: own,
            },
        )?;
        links::route(&netns, PODS_V4, gateways[0].0)?;
        if let Some((gateway, _)) = gateways.get(1) {
            links::route(&netns, PODS_V6, *gateway)?;
        }
        let path = self.cgroup_path();
        let cgroup = Cgroup::create(&path)?;
        let container = Cgroup::create(path.join(format!(
            "{:064x}",
            u64::from(std::process::id()) << 16 | u64::from(number)
        )))?;
        let mut pod = Pod {
            pause: None,
            container,
            cgroup,
            netns,
            number,
            name: self.name,
            node: self.node,
        };
        if self.pause {
            let mut command = pod.command(binary("pod-probe")?)?;
            command.arg("pause");
            pod.pause = Some(Process::spawn("pause", command)?);
        }
        Ok(pod)
    }
}

/// A pod.
pub struct Pod {
    pause: Option<Process>,
    container: Cgroup,
    cgroup: Cgroup,
    netns: NetNs,
    number: u16,
    name: String,
    node: Node,
}

impl Pod {
    /// A command that runs in the pod's container: its child joins cgroup and namespace before it has a socket.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let mut command = Command::new(program);
        self.container.enter(&mut command, &self.netns)?;
        Ok(command)
    }

    /// As [`Pod::command`], for a program that knows hosts by these names: they are all that its `/etc/hosts` has.
    pub fn command_knowing(&self, program: impl AsRef<OsStr>, hosts: &[(&str, IpAddr)]) -> Result<Command> {
        static FILES: AtomicU32 = AtomicU32::new(1);
        let file = self.shared_path(format!("hosts-{}", FILES.fetch_add(1, Ordering::Relaxed)));
        let lines: String = hosts
            .iter()
            .map(|(name, address)| format!("{address} {name}\n"))
            .collect();
        fs::write(&file, lines).with_context(|| format!("write {}", file.display()))?;
        let mut command = self.command(program)?;
        mounts::over(&mut command, file, c"/etc/hosts")?;
        Ok(command)
    }

    /// A command in the pod's network namespace, but in another pod's cgroup: what must not count as either.
    pub fn command_in_cgroup_of(&self, other: &Self, program: impl AsRef<OsStr>) -> Result<Command> {
        let mut command = Command::new(program);
        other.container.enter(&mut command, &self.netns)?;
        Ok(command)
    }

    /// A command in the pod's network namespace, but outside of every pod's cgroup: what `nsenter` on the node gives.
    pub fn command_of_the_node(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let mut command = Command::new(program);
        self.node.0.outside.enter(&mut command, &self.netns)?;
        Ok(command)
    }

    /// An unmodified MCP client in the pod, for `url`.
    pub fn mcp(&self, url: &str) -> McpClient<'_> {
        McpClient::new(self, url)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node that it is on.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Its IPv4 address.
    pub fn ipv4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 66, self.number as u8, 2)
    }

    /// Its IPv6 address, if it was made with IPv6.
    pub fn ipv6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd66, 0, 0, self.number, 0, 0, 0, 2)
    }

    /// The address that a server in it sees when the node dials: the node's on this pod's cable.
    pub fn gateway_ipv4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 66, self.number as u8, 1)
    }

    /// As [`Pod::gateway_ipv4`], for IPv6.
    pub fn gateway_ipv6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd66, 0, 0, self.number, 0, 0, 0, 1)
    }

    /// Its network namespace.
    pub fn netns(&self) -> &NetNs {
        &self.netns
    }

    /// Its pod-level cgroup: the one that the kernel knows a workload by.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Its container's cgroup, one level below, where its processes are.
    pub fn container(&self) -> &Cgroup {
        &self.container
    }

    /// The pod-level cgroup's path below the cgroup v2 mount.
    pub fn cgroup_path(&self) -> PathBuf {
        self.cgroup.path()
    }

    /// Sets `lo` up or down.
    pub fn loopback(&self, up: bool) -> Result<()> {
        links::set_up(&self.netns, "lo", up)
    }

    /// Writes a `net.*` sysctl of the pod, for example `net/ipv4/ip_local_port_range`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        self.netns.sysctl(name, value)
    }

    /// A directory that this pod's node has for sockets and files of a test.
    pub fn shared_path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.node.state_directory().join(name)
    }
}

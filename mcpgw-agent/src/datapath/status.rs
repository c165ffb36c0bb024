//! What the datapath knows about itself, read back from the kernel where the kernel knows it.

use serde::{Deserialize, Serialize};

/// The datapath's state, published after every reconcile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatapathStatus {
    /// Generation of the `Desired` that was last reconciled; 0 before the first.
    pub generation: u64,
    /// Every workload, ordered by name.
    pub workloads: Vec<WorkloadStatus>,
    /// Attached programs as the kernel lists them. Empty while nothing is enrolled.
    pub programs: Vec<ProgramStatus>,
    /// Fill of each map.
    pub maps: Vec<MapStatus>,
    /// Connects by decision, since the maps were made.
    pub connects: Vec<ConnectCount>,
    /// Accepted connections without an original destination, since this agent started.
    pub original_dst_missing: u64,
    /// Connections that were ended because they were open before they were governed, since this agent started.
    #[serde(default)]
    pub sockets_destroyed: u64,
    /// What keeps the datapath from matching `Desired`, if anything does: cause and next step.
    pub error: Option<String>,
}

/// Where a workload stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkloadStatus {
    /// `namespace/name`.
    pub name: String,
    /// Its ServiceAccount.
    pub service_account: String,
    /// `enforce`, `observe` or `off`.
    pub mode: String,
    /// Its state.
    pub state: State,
    /// Its cgroup path below the cgroup v2 mount.
    pub cgroup: String,
    /// The cgroup's id, once it exists.
    pub cgroup_id: Option<u64>,
    /// Cookie of its network namespace, once known.
    pub netns_cookie: Option<u64>,
    /// Listeners that are up, as `ip:port` in its network namespace.
    pub listeners: Vec<String>,
}

/// The state of a workload. Written `enforced`, `observed`, `off`, `pending:<reason>`,
/// `refused:<reason>` or `not-governed:<reason>`, in JSON too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum State {
    /// Governed, and read back from the kernel as such.
    Enforced,
    /// Observed, and read back from the kernel as such: what it dials is recorded, and nothing is refused.
    Observed,
    /// Known, and left alone as asked.
    Off,
    /// Not governed yet; its dials of governed addresses are refused once its cgroup exists.
    Pending(String),
    /// Cannot be governed; its dials of governed addresses are refused where its cgroup is known.
    Refused(String),
    /// Out of the programs' reach: it dials directly.
    NotGoverned(String),
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Enforced => f.write_str("enforced"),
            Self::Observed => f.write_str("observed"),
            Self::Off => f.write_str("off"),
            Self::Pending(reason) => write!(f, "pending:{reason}"),
            Self::Refused(reason) => write!(f, "refused:{reason}"),
            Self::NotGoverned(reason) => write!(f, "not-governed:{reason}"),
        }
    }
}

impl From<State> for String {
    fn from(state: State) -> Self {
        state.to_string()
    }
}

impl TryFrom<String> for State {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':').unwrap_or((&text, "")) {
            ("enforced", "") => Ok(Self::Enforced),
            ("observed", "") => Ok(Self::Observed),
            ("off", "") => Ok(Self::Off),
            ("pending", reason) => Ok(Self::Pending(reason.to_owned())),
            ("refused", reason) => Ok(Self::Refused(reason.to_owned())),
            ("not-governed", reason) => Ok(Self::NotGoverned(reason.to_owned())),
            _ => Err(format!("{text} is no state of a workload")),
        }
    }
}

/// An attached program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgramStatus {
    /// Its name, for example `connect4`.
    pub name: String,
    /// Kernel id of the program.
    pub program_id: u32,
    /// Kernel id of the link that attaches it.
    pub link_id: u32,
    /// Id of the cgroup it is attached to.
    pub cgroup_id: u64,
}

/// Fill of a map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapStatus {
    /// Its name, for example `HANDOFFS`.
    pub name: String,
    /// Entries in it.
    pub entries: u64,
    /// Entries that fit.
    pub capacity: u64,
}

/// Connects that were decided one way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectCount {
    /// `pass`, `redirect` or `refuse`.
    pub decision: String,
    /// Why; the names of [`mcpgw_common::Reason`].
    pub reason: String,
    /// How many.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn a_state_survives_json() {
        for state in [
            State::Enforced,
            State::Observed,
            State::Off,
            State::NotGoverned("d".into()),
            State::Pending("a:b".into()),
            State::Refused("c".into()),
        ] {
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(serde_json::from_str::<State>(&json).unwrap(), state);
        }
        assert!(serde_json::from_str::<State>("\"governed\"").is_err());
    }
}

//! Who calls: what the kernel attests about the process at the other end of a connection, and what the caller's
//! token says.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use crate::{mcp::seal::Owner, resources::ObjectName};

pub mod jwt;
mod process;
mod token;

pub use process::{Seen, seen};
pub use token::{ServiceAccount, Token};

/// The identity that an enrolled workload stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkloadIdentity {
    /// The workload (in Kubernetes: the pod).
    pub workload: ObjectName,
    /// Its ServiceAccount, in the workload's namespace.
    pub service_account: Arc<str>,
    /// Whose share of what all workloads have in common it takes: its own, whichever others have its ServiceAccount.
    owner: Owner,
}

impl WorkloadIdentity {
    /// Of a workload with a ServiceAccount of its namespace.
    pub fn new(workload: ObjectName, service_account: Arc<str>) -> Self {
        let principal = self::service_account(&workload.namespace, &service_account);
        // No name of a workload has a space in it.
        let owner = Owner::of(&format!("{principal} {}", workload.name));
        Self {
            workload,
            service_account,
            owner,
        }
    }

    /// The principal that budgets and sessions belong to: `system:serviceaccount:<ns>:<name>`.
    pub fn principal(&self) -> String {
        service_account(&self.workload.namespace, &self.service_account)
    }

    /// Whose share of what all workloads have in common it takes.
    pub fn owner(&self) -> Owner {
        self.owner
    }
}

fn service_account(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The enrolled workload, attested by the kernel at `connect`. `None` at the gateway's own listener, whose
    /// callers the kernel does not know. This authorizes.
    pub workload: Option<Arc<WorkloadIdentity>>,
    /// What the request's token says, once it is verified. A connection has none: a request's caller is the
    /// connection's with this added. This authorizes.
    pub token: Option<Arc<Token>>,
    /// Where it meant to go: never the address of a workload's listener, never a claim of the client.
    pub destination: SocketAddr,
    /// The other end of its connection, in the network namespace that it dialled from. Describes, never authorizes.
    pub client: Option<SocketAddr>,
    /// The dialling process. Describes, never authorizes.
    pub process: Option<Process>,
    /// Whether it is only observed: nothing changes what its calls get.
    pub observed: bool,
}

impl Caller {
    /// The principal that budgets and sessions belong to: the workload's, where the kernel attests one, else the
    /// token's; `anonymous` for a caller without either.
    pub fn principal(&self) -> String {
        match (&self.workload, &self.token) {
            (Some(workload), _) => workload.principal(),
            (None, Some(token)) => token.principal(),
            (None, None) => ANONYMOUS.to_owned(),
        }
    }

    /// The caller as its connection has it, without what a token said.
    pub fn unproven(caller: &Arc<Self>) -> Arc<Self> {
        let mut unproven = Arc::clone(caller);
        if unproven.token.is_some() {
            Arc::make_mut(&mut unproven).token = None;
        }
        unproven
    }

    /// Namespace and name of the ServiceAccount that it is: as the kernel attests it, or else as its token says.
    pub fn account(&self) -> Option<(&Arc<str>, &Arc<str>)> {
        match (&self.workload, &self.token) {
            (Some(workload), _) => Some((&workload.workload.namespace, &workload.service_account)),
            (None, Some(token)) => {
                let account = token.service_account.as_ref()?;
                Some((&account.name.namespace, &account.name.name))
            }
            (None, None) => None,
        }
    }

    /// Whom its sessions are bound to: the principal, for an attested one the workload too, and with a token its
    /// subject: of the users that one workload speaks for, each has sessions of its own. A token that is renewed
    /// changes nothing.
    pub fn session_owner(&self) -> Owner {
        match (&self.workload, &self.token) {
            (Some(workload), Some(token)) => Owner::of(&format!(
                "{} {} {}",
                workload.principal(),
                workload.workload.name,
                token.principal()
            )),
            _ => self.share_owner(),
        }
    }

    /// Whose share of what all callers have in common it takes: the workload's, whomever that speaks for; where the
    /// kernel attests none, that of its sessions' owner.
    pub fn share_owner(&self) -> Owner {
        match &self.workload {
            Some(workload) => workload.owner(),
            None => Owner::of(&self.principal()),
        }
    }

    /// Whether its token is a ServiceAccount's, and was made for another pod than the one that the kernel saw, or
    /// for no pod in particular.
    pub fn brings_a_strangers_token(&self) -> bool {
        let (Some(workload), Some(token)) = (&self.workload, &self.token) else {
            return false;
        };
        token.service_account.as_ref().is_some_and(|account| {
            account.name.namespace != workload.workload.namespace
                || account.name.name != workload.service_account
                || account.pod.as_ref() != Some(&workload.workload)
        })
    }
}

/// The principal of a caller that nobody attests.
pub const ANONYMOUS: &str = "anonymous";

/// A process that dialled, as the kernel saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// In the agent's pid namespace.
    pub pid: u32,
    /// Its executable, where the process still lived when the connection was accepted.
    pub executable: Option<PathBuf>,
    /// Its container, likewise: the last part of its cgroup's path.
    pub container: Option<String>,
    /// The dialling thread's name, which the application chooses.
    pub command: String,
}

//! Who calls: what the kernel attests about the process at the other end of a connection.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use crate::resources::ObjectName;

mod process;

pub use process::executable_of;

/// The identity that an enrolled workload stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkloadIdentity {
    /// The workload (in Kubernetes: the pod).
    pub workload: ObjectName,
    /// Its ServiceAccount, in the workload's namespace.
    pub service_account: Arc<str>,
}

impl WorkloadIdentity {
    /// The principal that budgets and sessions belong to: `system:serviceaccount:<ns>:<name>`.
    pub fn principal(&self) -> String {
        format!(
            "system:serviceaccount:{}:{}",
            self.workload.namespace, self.service_account
        )
    }
}

/// The address that a redirected application dialled: never the listener's, never a claim of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OriginalDestination(pub SocketAddr);

/// A connection's caller, captured by the kernel at `connect`.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The enrolled workload. This authorizes.
    pub identity: Arc<WorkloadIdentity>,
    /// Where the application meant to go.
    pub destination: OriginalDestination,
    /// The dialling process, in the agent's pid namespace. Describes, never authorizes.
    pub pid: u32,
    /// Its executable, where the process still lived when the connection was accepted. Describes only.
    pub executable: Option<PathBuf>,
    /// The dialling thread's name, which the application chooses. Describes only.
    pub command: String,
}

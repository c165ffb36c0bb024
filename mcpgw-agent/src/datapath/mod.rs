//! Makes the kernel match [`Desired`](crate::resources::Desired), and reads it back.
//!
//! ```text
//! preflight  what the machine must have, checked before anything is touched
//! node       a node's options, directories and lock
//! kernel     programs and links: load, attach, take over, remove
//! sys        bpf(2) commands on links
//! maps       the pinned maps, typed
//! fill       … made to hold what is wanted
//! cgroup     cgroup v2: mount, ids, processes
//! netns      a network namespace handle
//! overdue    work that may take too long
//! sockopt    socket options that no library has
//! listener   the listeners in a namespace
//! destroy    ends connections that are older than their governance
//! enrol      one workload: what it needs, where it stands
//! lease      how the kernel knows that the agent is alive
//! reconcile  Desired + what is there → kernel
//! run        the loop around it
//! pace       how often it goes round
//! watch      wakes the loop when a cgroup changes
//! handoff    accepted connection → caller
//! refused    what the kernel refused, told of once
//! explain    what would happen if
//! status     what is reported
//! serve      the seam to the proxy
//! error      what can go wrong
//! ```

use std::path::Path;

mod cgroup;
mod destroy;
mod enrol;
mod error;
mod explain;
mod fill;
mod handoff;
mod kernel;
mod lease;
mod listener;
mod maps;
mod netns;
mod node;
mod overdue;
mod pace;
mod preflight;
mod reconcile;
mod refused;
mod run;
mod serve;
mod sockopt;
pub mod status;
mod sys;
mod watch;

pub use error::DatapathError;
pub use explain::Explanation;
pub use handoff::{Handoffs, NoOrigin};
pub use node::NodeOptions;
pub use refused::KernelRefusals;
pub use run::Datapath;
pub use serve::{PodListeners, Serve, ServeGuard};

use maps::Maps;
use node::NodeLock;
use status::DatapathStatus;

/// Removes everything that mcpgw has in the kernel and in the node's directories, and tells what it
/// removed, a line each. Refused while an agent runs.
///
/// # Errors
///
/// [`DatapathError::Locked`] names the agent that runs.
pub fn uninstall(options: &NodeOptions) -> Result<Vec<String>, DatapathError> {
    let lock = NodeLock::take(&options.state())?;
    let mut removed = kernel::remove_pins(&options.node_pins());
    remove_state(&options.state(), lock, &mut removed);
    Ok(removed)
}

/// What the kernel holds for the node, without an agent: programs, maps, counters. Workloads have no names
/// there, so they are left out.
///
/// # Errors
///
/// When pins are there and cannot be read.
pub fn read_kernel(options: &NodeOptions) -> Result<DatapathStatus, DatapathError> {
    let pins = options.pins();
    match pins.try_exists() {
        Ok(true) => {}
        Ok(false) => return Ok(DatapathStatus::default()),
        // bpffs is root's: who may not look must not be told that nothing is there.
        Err(source) => {
            return Err(DatapathError::Io {
                action: "look for what is pinned (as root it can be seen)",
                path: pins,
                source,
            });
        }
    }
    let maps = Maps::open(&pins)?;
    Ok(DatapathStatus {
        programs: kernel::attached(&pins),
        maps: maps.fill(),
        connects: maps.connects()?,
        ..DatapathStatus::default()
    })
}

fn remove_state(state: &Path, lock: NodeLock, removed: &mut Vec<String>) {
    for (what, file) in [("socket", "admin.sock"), ("session keys", "session-keys")] {
        let path = state.join(file);
        if std::fs::remove_file(&path).is_ok() {
            removed.push(format!("{what} {}", path.display()));
        }
    }
    // The lock is of this very command; the directory goes only if nothing else lies there.
    lock.remove();
    let _ = std::fs::remove_dir(state);
}

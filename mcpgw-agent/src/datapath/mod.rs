//! Makes the kernel match [`Desired`](crate::resources::Desired), and reads it back.
//!
//! ```text
//! preflight  what the machine must have, checked before anything is touched
//! node       the node's directories and its lock
//! object     the compiled programs, embedded
//! kernel     loads programs, pins maps and links, takes them over, removes them
//! maps       the pinned maps, typed
//! cgroup     cgroup v2: mount, ids, processes
//! netns      a network namespace handle; listeners in it
//! enrol      one workload: what it needs, where it stands
//! reconcile  the loop: Desired + what is there → kernel
//! handoff    accepted connection → caller
//! status     what the kernel reports, for the CLI and metrics
//! ```

pub mod status;
mod serve;

pub use serve::{PodListeners, Serve, ServeGuard};

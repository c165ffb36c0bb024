//! Who may call what. Pure: no I/O, no Kubernetes, no eBPF.
//!
//! ```text
//! plan       Desired, compiled: servers by address, rules by server; the decision
//! rule       one rule, compiled
//! admission  what callers of a server prove before any rule
//! ```

mod admission;
mod plan;
mod rule;

pub use admission::Admission;
pub use plan::{DEFAULT_DENY, Decision, Plan, Server};

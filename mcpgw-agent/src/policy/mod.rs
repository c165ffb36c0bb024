//! Who may call what. Pure: no I/O, no Kubernetes, no eBPF.
//!
//! ```text
//! plan       Desired, compiled: servers by address, rules by server; the decision
//! rule       one rule, compiled
//! limits     how often: limits, compiled, and what has been spent of them
//! admission  what callers of a server prove before any rule
//! ```

mod admission;
pub mod limits;
mod plan;
mod rule;

pub use admission::Admission;
pub use plan::{DEFAULT_DENY, Decision, Plan, Server};

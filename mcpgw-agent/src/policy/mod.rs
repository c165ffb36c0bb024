//! Who may do what. Pure: no I/O, no Kubernetes, no eBPF.
//!
//! ```text
//! plan   Desired, compiled: servers by address, rules by server; the decision
//! ask    what is asked: by whom, what for, with which arguments
//! rules  the rules that govern one server; what they decide
//! index  which of them can be about a request, found without looking at the others
//! bucket … by the caller
//! rule   one rule, compiled
//! limits how often: limits, compiled, and what has been spent of them
//! face   what rules can tell callers apart by
//! doubts what is doubtful about rules, for the operator
//! admission  what callers of a server prove before any rule
//! in_force  the plan in force, and when it changes
//! ```
//!
//! Any denial denies; where rules govern a server, one permission is needed; where none do, everything is allowed.

mod admission;
mod ask;
mod bucket;
mod doubts;
mod face;
mod in_force;
mod index;
pub mod limits;
mod plan;
mod rule;
mod rules;
#[cfg(test)]
mod tests;

pub use admission::{Admission, Lacks};
pub use ask::{Arguments, Ask, MAX_ARGUMENTS};
pub use doubts::doubts;
pub use face::Face;
pub use in_force::InForce;
pub use plan::{Plan, Server};
pub use rule::Considered;
pub use rules::{Because, DEFAULT_DENY, Decision, Judgement};

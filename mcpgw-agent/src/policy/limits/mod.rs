//! How often, and how many at a time: limits, compiled, and what has been spent of them.
//!
//! ```text
//! limit     one limit: which calls it counts, and whose budget they spend
//! key       whose budget: a digest of the parts that the limit names
//! budgets   what has been spent; takes from all limits of a call or from none
//! descriptor  whose budget, in words that a rate limit service counts by
//! ```

mod budgets;
mod descriptor;
mod key;
mod limit;

pub use budgets::{Budget, Budgets, Limited, MAX_KEYS, Taken};
pub use descriptor::Descriptor;
pub use key::Spender;
pub use limit::{Limit, Shared};

#[cfg(test)]
mod tests;

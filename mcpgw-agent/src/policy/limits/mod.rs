//! How often, and how many at a time: limits, compiled, and what has been spent of them.
//!
//! ```text
//! limit     one limit: which calls it counts, and whose budget they spend
//! key       whose budget: a digest of the parts that the limit names
//! budgets   what has been spent; takes from all limits of a call or from none
//! ```

mod budgets;
mod key;
mod limit;

pub use budgets::{Budgets, Limited, MAX_KEYS, Taken};
pub use key::Spender;
pub use limit::Limit;

#[cfg(test)]
mod tests;

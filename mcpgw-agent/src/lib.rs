//! The node agent of mcpgw.
//!
//! Two flows, and nothing else crosses:
//!
//! - **Control**: [`source`] → [`resources::Desired`] → [`datapath`] (kernel maps, listeners) and →
//!   [`policy::Plan`], which the proxy reads through an `ArcSwap`.
//! - **Call**: [`proxy`] accepts → [`identity`] from the kernel → HTTP → [`mcp`] envelope → [`policy`]
//!   decision → [`upstream`] → answer → one [`telemetry`] record.
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

pub mod admin;
mod changes;
pub mod cli;
pub mod datapath;
pub mod discovery;
pub mod engines;
pub mod expression;
pub mod identity;
pub mod keys;
pub mod mcp;
pub mod pins;
pub mod policy;
pub mod proxy;
pub mod resources;
pub mod shares;
pub mod source;
pub mod telemetry;
pub mod upstream;
#[cfg(test)]
mod waiting;
mod web;

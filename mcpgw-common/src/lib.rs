//! What the kernel programs and the agent both know: the layouts of the maps that they share, and the
//! one pure function that decides what happens to a connection ([`decide::connect`]).
//!
//! The eBPF programs call that function in the kernel, `mcpgw explain` calls it in user space, and the
//! property tests call it on the host, so that there is one answer to "what happens if W dials A?".
#![no_std]
#![warn(missing_docs)]

mod address;
pub mod decide;
pub mod layout;
mod reason;

pub use address::{Address, Endpoint};
pub use reason::Reason;

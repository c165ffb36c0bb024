//! The protocol, between clients and servers that others wrote: what they get through mcpgw is what they get without.

mod clients;
mod conformance;
mod http2;
mod listening;
mod matrix;
mod replicas;
mod resumption;
mod scene;
mod steps;

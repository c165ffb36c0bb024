//! The resources as types, and the only place that knows YAML and its schema.

mod desired;

pub use desired::*;

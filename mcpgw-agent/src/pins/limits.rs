//! Every bound of pins, by name.

/// Tools of one server that are pinned; further ones are never approved.
pub(super) const MAX_TOOLS: usize = 2048;
/// Bytes of all definitions of one server that are approved, and of all that are seen.
pub(super) const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of the file of one server's approvals.
pub(super) const MAX_FILE: u64 = 24 * 1024 * 1024;
/// Changes of definitions that are audited each time that a server is seen; all are counted in the log.
pub(super) const MAX_TOLD: usize = 64;

//! Where resources come from. Every source yields one [`Desired`](crate::resources::Desired) snapshot after
//! another through a watch channel; a bad change is refused and the last good snapshot stays.
//!
//! ```text
//! file    documents in the files of a directory
//! watch   … read again when they change
//! status  what a source knows about itself
//! ```

mod file;
mod status;
mod watch;

pub use file::{FileSource, LoadErrors};
pub use status::SourceStatus;

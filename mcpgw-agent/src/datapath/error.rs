//! What can go wrong in the datapath, in words that name the next step.

use std::{io, path::PathBuf};

use aya::{
    EbpfError,
    maps::MapError,
    pin::PinError,
    programs::{ProgramError, links::LinkError},
};

/// An error of the datapath: the operation, its object, and the source.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The machine lacks something: each entry says what, and what to do.
    #[error("this machine cannot run the datapath:{}", .0.iter().map(|m| format!("\n  - {m}")).collect::<String>())]
    Preflight(Vec<String>),
    /// Another agent works on this node.
    #[error("another mcpgw works on this node: process {holder} holds {path}; stop it first, or give --node another name", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The holder's process id.
        holder: String,
    },
    /// A file or directory.
    #[error("cannot {action} at {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The embedded object could not be loaded into the kernel.
    #[error("cannot load the eBPF object: {}", chain(.0))]
    Load(#[from] EbpfError),
    /// A program.
    #[error("cannot {action} the eBPF program {program}: {}", chain(.source))]
    Program {
        /// What was tried.
        action: &'static str,
        /// The program.
        program: &'static str,
        /// Why not.
        source: ProgramError,
    },
    /// A link between a program and the cgroup.
    #[error("cannot {action} the link of {program}: {source}")]
    Link {
        /// What was tried.
        action: &'static str,
        /// The program.
        program: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A map.
    #[error("cannot {action} the map {map}: {}", chain(.source))]
    Map {
        /// What was tried.
        action: &'static str,
        /// The map.
        map: &'static str,
        /// Why not.
        source: MapError,
    },
    /// A map has no room for all that is wanted.
    #[error(
        "MapFull: {map} has no room for the {wanted} entries that it should have, and what has no entry is not governed; name fewer servers, hosts or workloads on this node"
    )]
    MapFull {
        /// The map.
        map: &'static str,
        /// The entries that it should have.
        wanted: usize,
    },
    /// More workloads than there are slots for.
    #[error("more than {0} workloads are enrolled on this node")]
    TooManyWorkloads(u32),
    /// The thread that reconciles ended.
    #[error("the datapath has stopped")]
    Stopped,
}

/// An error with all of its sources: aya's say the essential in the last.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

impl DatapathError {
    pub(super) fn link(action: &'static str, program: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Link {
            action,
            program,
            source,
        }
    }

    pub(super) fn map(action: &'static str, map: &'static str) -> impl Fn(MapError) -> Self {
        move |source| Self::Map { action, map, source }
    }

    pub(super) fn program(action: &'static str, program: &'static str) -> impl Fn(ProgramError) -> Self {
        move |source| Self::Program {
            action,
            program,
            source,
        }
    }
}

/// aya's errors of links and pins, where an `io::Error` is wanted.
pub(super) fn link_io(error: LinkError) -> io::Error {
    io::Error::other(chain(&error))
}

pub(super) fn pin_io(error: PinError) -> io::Error {
    io::Error::other(chain(&error))
}

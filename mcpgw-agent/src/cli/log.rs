//! The agent's log, on standard error: standard output is the audit log's.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

use super::options::BpfLog;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

/// Where the programs' own lines come from, as a filter sees it.
const BPF_TARGET: &str = "mcpgw_ebpf";

pub(super) fn init(format: Format, filter: &str, bpf: BpfLog) -> anyhow::Result<()> {
    // Who turns the programs' log on wants to see it, whatever the filter says about the rest.
    let filter = EnvFilter::try_new(format!("{filter},{BPF_TARGET}={}", bpf.name()))?;
    let log = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let done = match format {
        Format::Text => log.try_init(),
        Format::Json => log.json().flatten_event(true).try_init(),
    };
    done.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// A level (`info`), or a list of `target=level`.
pub(super) fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

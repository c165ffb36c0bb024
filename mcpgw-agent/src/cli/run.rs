//! `mcpgw run`: what it is given, and the order in which it starts.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Args;
use tokio::runtime;

use super::{
    agent::Agent,
    log,
    options::{BpfLog, NodeArgs},
    refuse,
};
use crate::{
    datapath::NodeOptions,
    source::FileSource,
    telemetry::{AuditSink, ExportSettings, Telemetry, TelemetryOptions},
};

/// How long threads that are still busy may hold up the end, after everything was closed.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Run the agent of this node, standalone
///
/// Reads the resources in DIR, governs the workloads that they name, and follows changes of the files. A
/// change that is not valid is refused as a whole; the last good one stays in force.
///
/// Traces are exported by OTLP where OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT names a
/// collector; the other standard OTEL_* variables say how. So are audit lines, besides, where the settings have
/// `audit.sink: OTLP`.
///
/// On SIGTERM or SIGINT the agent ends; the programs in the kernel stay in force, and refuse governed
/// connections until an agent runs again. `mcpgw uninstall` removes them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpgw run --config /etc/mcpgw --cgroup /sys/fs/cgroup/agents
  mcpgw run --config /etc/mcpgw --cgroup /sys/fs/cgroup/agents --audit /var/log/mcpgw/audit.jsonl
  MCPGW_CONFIG=/etc/mcpgw MCPGW_CGROUP=/sys/fs/cgroup/agents mcpgw run --log-format json")]
pub(super) struct Run {
    /// Directory with the resources: *.yaml and *.yml
    #[arg(long, env = "MCPGW_CONFIG", hide_env_values = true, value_name = "DIR")]
    config: PathBuf,
    /// The cgroup below which all workloads are, by its whole path: the programs are attached there
    #[arg(long, env = "MCPGW_CGROUP", hide_env_values = true, value_name = "PATH")]
    cgroup: PathBuf,
    #[command(flatten)]
    node: NodeArgs,
    /// Port of the agent's listeners, on loopback in each workload's network namespace
    #[arg(
        long,
        env = "MCPGW_LISTENER_PORT",
        hide_env_values = true,
        value_name = "PORT",
        default_value = "17017"
    )]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    listener_port: u16,
    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, env = "MCPGW_METRICS_ADDRESS", hide_env_values = true, value_name = "IP:PORT")]
    #[arg(default_value = "127.0.0.1:9090")]
    metrics_address: SocketAddr,
    /// Where audit lines go, unless the settings name another place: a file, or - for standard output
    #[arg(
        long,
        env = "MCPGW_AUDIT",
        hide_env_values = true,
        value_name = "FILE",
        default_value = "-"
    )]
    audit: PathBuf,
    /// How log lines look
    #[arg(
        long,
        env = "MCPGW_LOG_FORMAT",
        hide_env_values = true,
        value_enum,
        default_value = "text"
    )]
    log_format: log::Format,
    /// What is logged: error, warn, info, debug, trace, or a list of target=level
    #[arg(
        long,
        env = "MCPGW_LOG",
        hide_env_values = true,
        value_name = "LEVEL",
        default_value = "info"
    )]
    #[arg(value_parser = log::filter)]
    log: String,
    /// What the programs in the kernel log; costs time on every governed connect
    #[arg(
        long,
        env = "MCPGW_BPF_LOG",
        hide_env_values = true,
        value_enum,
        default_value = "off"
    )]
    bpf_log: BpfLog,
}

impl Run {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let options = NodeOptions {
            cgroup: self.cgroup,
            listener_port: self.listener_port,
            bpf_log: self.bpf_log.level(),
            ..self.node.options()?
        };
        log::init(self.log_format, &self.log, self.bpf_log)?;
        let initial = match FileSource::load(&self.config) {
            Ok(initial) => initial,
            Err(errors) => {
                let code = refuse(&errors);
                eprintln!(
                    "mcpgw: the configuration in {} is refused; nothing was started",
                    self.config.display()
                );
                return Ok(code);
            }
        };
        let (audit_export, traces) = (ExportSettings::of_logs()?, ExportSettings::of_traces()?);
        allow_descriptors();
        // Two runtimes, so that neither calls nor control can starve the other.
        let control = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let data = runtime::Builder::new_multi_thread()
            .thread_name("mcpgw-data")
            .enable_all()
            .build()
            .context("cannot start the data runtime")?;
        let audit = match self.audit.as_os_str() == "-" {
            true => AuditSink::Stdout,
            false => AuditSink::File(self.audit),
        };
        let result = control.block_on(async {
            let telemetry = Telemetry::new(TelemetryOptions {
                node: options.node.clone(),
                audit,
                audit_export,
                traces,
            })?;
            let mut agent = Agent::start(options, self.config, initial, self.metrics_address, telemetry, &data).await?;
            agent.until_told_to_stop().await;
            agent.stop().await;
            Ok(ExitCode::SUCCESS)
        });
        data.shutdown_timeout(LAST_WAIT);
        control.shutdown_timeout(LAST_WAIT);
        result
    }
}

/// Every connection takes two descriptors, and the usual soft limit is for programs that still use `select`.
fn allow_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files; connections beyond it will wait");
    }
}

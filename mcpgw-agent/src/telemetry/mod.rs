//! What is remembered: metrics, traces and the audit log. Every call is one [`Record`], written once.
//!
//! ```text
//! record    the record of one call, from its decision to its end
//! verdict   … what is said of it: how it came, what was decided, what became of it
//! client    … what a client says of itself where it begins
//! listed    … and how much of a list was shown
//! beyond    … and what it is about that has no line of its own
//! metrics   the instruments, and their text for Prometheus
//! labels    which tool names may become a label
//! issuers   instruments that read what is known of issuers
//! pins      instruments that read what is pinned
//! servers   instruments that read how well servers are known and reached
//! engines   instruments that read what became of questions to services outside
//! datapath  instruments that read the datapath's status
//! otlp      how a collector is reached
//! traces    spans of requests, exported by OTLP
//! audit     the audit log: its lines, and the thread that writes them
//! ```

mod audit;
mod beyond;
mod client;
mod datapath;
mod engines;
mod issuers;
mod labels;
mod listed;
mod metrics;
mod otlp;
mod pins;
mod record;
mod servers;
mod traces;
mod verdict;

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::sync::watch;

pub use crate::resources::AuditSink;
pub use audit::{
    AuditError, AuditHealth, DefinitionChange, FLUSH_INTERVAL, FLUSH_TIMEOUT, Keeping, Omitted, Payload, ROOM_TIMEOUT,
    Refusal, Who,
};
#[cfg(test)]
pub(crate) use audit::{FREE, OWN};
pub use beyond::Beyond;
pub use client::Client;
pub use labels::{MAX_TOOL_LABELS, OTHER};
pub use listed::Listed;
pub use metrics::MetricsError;
pub use otlp::{ExportError, ExportSettings, ExportSettingsError};
pub use record::{CallStart, Record};
pub use traces::{Carried, EXPORT_TIMEOUT, Propagated, TracesHealth};
pub use verdict::{DecidedBy, Outcome, Path, Verdict};

use crate::{
    datapath::{KernelRefusals, status::DatapathStatus},
    discovery::Discovery,
    engines::Engines,
    identity::{Caller, jwt::Issuers},
    pins::Pins,
    resources::{AuditSettings, ObjectName},
    upstream::Upstreams,
};
use audit::Audit;
use labels::ToolLabels;
use metrics::Metrics;
use traces::Traces;

/// What the telemetry needs to know.
#[derive(Clone, Debug)]
pub struct TelemetryOptions {
    /// Name of this node, in every audit line.
    pub node: String,
    /// Where the audit log is written, unless settings name another place.
    pub audit: AuditSink,
    /// Where audit lines go besides, once settings ask for it; `None` if nowhere.
    pub audit_export: Option<ExportSettings>,
    /// Where traces go; `None` if nowhere.
    pub traces: Option<ExportSettings>,
}

/// Why the telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The export.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// Metrics, traces and audit log of this agent.
pub struct Telemetry {
    metrics: Metrics,
    labels: ToolLabels,
    audit: Audit,
    /// Where a collector is named.
    traces: Option<Traces>,
    decisions: DecisionIds,
}

impl Telemetry {
    /// Starts the audit writer and the export of traces, and creates the instruments.
    pub fn new(options: TelemetryOptions) -> Result<Arc<Self>, TelemetryError> {
        let audit = Audit::start(&options.node, &options.audit, options.audit_export)?;
        let metrics = Metrics::new(audit.lost())?;
        let traces = match &options.traces {
            Some(settings) => Some(Traces::start(&options.node, settings)?),
            None => None,
        };
        if let Some(traces) = &traces {
            traces.observe(metrics.meter());
        }
        Ok(Arc::new(Self {
            metrics,
            labels: ToolLabels::default(),
            audit,
            traces,
            decisions: DecisionIds::new(),
        }))
    }

    /// All metrics, in Prometheus' text format.
    pub fn render(&self) -> String {
        self.metrics.render()
    }

    /// Exports the datapath's counters from its status; call it once.
    pub fn observe_datapath(&self, status: watch::Receiver<DatapathStatus>) {
        datapath::observe(self.metrics.meter(), &status);
    }

    /// Exports the generation of the plan in force; call it once.
    pub fn observe_plan(&self, generation: impl Fn() -> u64 + Send + Sync + 'static) {
        self.metrics.observe_plan(generation);
    }

    /// Exports what is known of issuers, and how often tokens were looked at; call it once.
    pub fn observe_issuers(&self, issuers: &Arc<Issuers>) {
        issuers::observe(self.metrics.meter(), issuers);
    }

    /// Exports how many tools are what was approved of them; call it once.
    pub fn observe_pins(&self, pins: &Arc<Pins>) {
        pins::observe(self.metrics.meter(), pins);
    }

    /// Exports how well servers are known, and which of their addresses are left alone; call it once.
    pub fn observe_servers(&self, discovery: &Arc<Discovery>, upstreams: &Arc<Upstreams>) {
        servers::observe(self.metrics.meter(), discovery, upstreams);
    }

    /// Exports what became of questions to services outside; call it once.
    pub fn observe_engines(&self, engines: &Arc<Engines>) {
        engines::observe(self.metrics.meter(), engines);
    }

    /// Exports the number of errors in the configuration as it stands now; call it once.
    pub fn observe_configuration(&self, errors: impl Fn() -> u64 + Send + Sync + 'static) {
        self.metrics.observe_configuration(errors);
    }

    /// Exports which components are ready; call it once.
    pub fn observe_readiness(&self, components: impl Fn() -> Vec<(String, bool)> + Send + Sync + 'static) {
        self.metrics.observe_readiness(components);
    }

    /// Opens the record of a request that was just decided.
    pub fn call(self: &Arc<Self>, start: CallStart<'_>) -> Record {
        Record::open(Arc::clone(self), start)
    }

    /// What stands for a tool where a caller must not be able to make up names; `proven` names stand for
    /// themselves.
    pub fn tool_key(&self, server: &ObjectName, tool: &str, proven: bool) -> Arc<str> {
        self.labels.label(server, tool, proven)
    }

    /// Counts a rule whose condition could not be evaluated.
    pub fn rule_failed(&self, rule: &Arc<str>) {
        self.metrics.rule_failed(Arc::clone(rule));
    }

    /// Counts and audits a request or connection that was refused before any decision about a tool.
    pub fn refused(&self, refusal: Refusal) {
        self.metrics.refused(refusal.reason);
        self.audit.refused(refusal);
    }

    /// Counts and audits a stream that was open, and may not stay so.
    pub fn stream_ended(&self, ended: Refusal) {
        self.metrics.stream_ended(ended.reason);
        self.audit.stream_ended(ended);
    }

    /// Counts that a server announced an update of a resource that is not its own, or that nobody has.
    pub fn strange_update(&self, server: &ObjectName) {
        self.metrics.strange_update(server);
    }

    /// Audits what the kernel refused; the datapath's metrics count it.
    pub fn kernel_refused(&self, refusals: KernelRefusals) {
        self.audit.kernel(refusals);
    }

    /// Audits what has become of a tool's definition.
    pub fn definition(&self, change: DefinitionChange) {
        self.audit.definition(change);
    }

    /// Counts and audits what would have been refused, had its caller not been only observed.
    pub fn would_refuse(&self, reason: &'static str, caller: &Arc<Caller>, path: Path) {
        self.metrics.would_refuse(reason);
        self.audit.refused(Refusal {
            time: SystemTime::now(),
            reason,
            status: None,
            path,
            who: Who::Caller(Arc::clone(caller)),
        });
    }

    /// Counts and audits a connection that came to the listener without an original destination.
    pub fn original_dst_missing(&self, who: Who, reason: &'static str) {
        self.metrics.original_dst_missing();
        self.audit.refused(Refusal {
            time: SystemTime::now(),
            reason,
            status: None,
            path: Path::Redirected,
            who,
        });
    }

    /// Puts settings of the audit log in force.
    pub fn set_audit(&self, settings: &AuditSettings) {
        self.audit.set(settings);
    }

    /// How the audit log does.
    pub fn audit_health(&self) -> AuditHealth {
        self.audit.health()
    }

    /// How the export of traces does; `None` where nothing is exported.
    pub fn traces_health(&self) -> Option<TracesHealth> {
        self.traces.as_ref().map(Traces::health)
    }

    /// Waits until the audit log has room for the lines of a request of this caller; `false` if it stays full, or the
    /// caller's part of it.
    pub async fn room(&self, caller: &Caller) -> bool {
        self.audit.room(caller).await
    }

    /// The same, of a caller of whom it is not known yet whose part its lines will take.
    pub async fn room_at_all(&self) -> bool {
        self.audit.room_at_all().await
    }

    /// Writes what is queued and ends the audit log; later lines are counted as lost. Blocks for at most
    /// [`FLUSH_TIMEOUT`]; `false` if lines were still waiting then.
    pub fn shutdown(&self) -> bool {
        self.audit.shutdown()
    }

    /// Exports the spans that wait, and ends the export of traces. Blocks for at most [`EXPORT_TIMEOUT`]; `false` if
    /// spans were lost.
    pub fn end_traces(&self) -> bool {
        self.traces.as_ref().is_none_or(Traces::shutdown)
    }
}

/// Ids of decisions: unique on this node, also across restarts.
struct DecisionIds {
    prefix: u64,
    next: AtomicU64,
}

impl DecisionIds {
    fn new() -> Self {
        // The standard library's hasher is seeded at random.
        Self {
            prefix: RandomState::new().build_hasher().finish(),
            next: AtomicU64::new(1),
        }
    }

    fn next(&self) -> String {
        format!("{:016x}-{:x}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
#[path = "telemetry_tests.rs"]
mod tests;

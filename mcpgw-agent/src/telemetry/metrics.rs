//! The instruments, and their text for Prometheus.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use opentelemetry::{
    KeyValue, Value,
    metrics::{Counter, Histogram, Meter, MeterProvider},
};
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::{Registry, TextEncoder};

use super::{labels::OTHER, record::Finished, verdict::Outcome};
use crate::{mcp::governed::recorded, resources::ObjectName};

/// Series of one call metric; calls beyond are counted in one series with the label `otel_metric_overflow`.
const MAX_CALL_SERIES: usize = 20_000;
const CALLS: &str = "mcp_tool_calls";
const REQUESTS: &str = "mcp_requests";
const DURATION: &str = "mcp_tool_call_duration_seconds";
/// As the OpenTelemetry conventions for MCP name and bound it; the exporter adds the unit.
const OPERATION: &str = "mcp.server.operation.duration";
const OVERHEAD: &str = "mcpgw_overhead_seconds";

/// Buckets of a whole call, in seconds.
const DURATION_BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0,
];
/// Buckets of an operation, in seconds, as the conventions have them.
const OPERATION_BUCKETS: [f64; 14] = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];
/// Buckets of our own part in a call, in seconds: from 10 µs.
const OVERHEAD_BUCKETS: [f64; 13] = [
    0.000_01, 0.000_02, 0.000_035, 0.000_05, 0.000_075, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1,
];

/// The exporter refused its configuration.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the metrics exporter: {0}")]
pub struct MetricsError(#[from] opentelemetry_sdk::error::OTelSdkError);

/// The agent's instruments. Counters get their `_total` from the exporter.
pub(super) struct Metrics {
    registry: Registry,
    meter: Meter,
    calls: Counter<u64>,
    duration: Histogram<f64>,
    operation: Histogram<f64>,
    overhead: Histogram<f64>,
    refused: Counter<u64>,
    would_refuse: Counter<u64>,
    streams_ended: Counter<u64>,
    strange_updates: Counter<u64>,
    decisions: Counter<u64>,
    failures: Counter<u64>,
    requests: Counter<u64>,
    original_dst_missing: Counter<u64>,
    // The provider ends its instruments when it is dropped.
    _provider: SdkMeterProvider,
}

impl Metrics {
    pub(super) fn new(audit_lines_lost: Arc<AtomicU64>) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false)
            .build()?;
        let provider = SdkMeterProvider::builder()
            .with_reader(exporter)
            .with_view(bound_series)
            .build();
        let meter = provider.meter("mcpgw");
        let counter = |name, about| meter.u64_counter(name).with_description(about).build();
        let histogram = |name, about, buckets: &[f64]| {
            meter
                .f64_histogram(name)
                .with_description(about)
                .with_boundaries(buckets.to_vec())
                .build()
        };
        let metrics = Self {
            calls: counter(CALLS, "Tool calls, by what became of them."),
            duration: histogram(
                DURATION,
                "Time from a tool call's request headers to the end of its answer.",
                &DURATION_BUCKETS,
            ),
            operation: meter
                .f64_histogram(OPERATION)
                .with_unit("s")
                .with_description("Time from the headers of a decided request to the end of its answer.")
                .with_boundaries(OPERATION_BUCKETS.to_vec())
                .build(),
            overhead: histogram(
                OVERHEAD,
                "Time that the gateway adds to a tool call: from its complete body to the request to the server, plus \
                 from the head of the server's answer to the head of ours. Without waiting for client or server, \
                 connecting, and passing on the answer's body.",
                &OVERHEAD_BUCKETS,
            ),
            refused: counter(
                "mcpgw_requests_refused",
                "Requests and connections refused before a decision.",
            ),
            would_refuse: counter(
                "mcpgw_requests_would_refuse",
                "Requests and connections of observed callers that would have been refused.",
            ),
            streams_ended: counter(
                "mcpgw_streams_ended",
                "Open streams that were ended because their caller may no longer have them, by reason.",
            ),
            strange_updates: counter(
                "mcpgw_resource_updates_ignored",
                "Updates that a server announced of resources that are not its own.",
            ),
            decisions: counter(
                "mcpgw_policy_decisions",
                "Decisions about tool calls and other requests, by the rule that made them.",
            ),
            failures: counter(
                "mcpgw_policy_expression_errors",
                "Conditions of rules that could not be evaluated, by rule. An Allow rule then allows nothing, and a \
                 Deny rule denies.",
            ),
            requests: counter(REQUESTS, "Decided requests that call no tool, by what became of them."),
            original_dst_missing: counter(
                "mcpgw_original_dst_missing",
                "Connections to a listener whose original destination is not known; closed.",
            ),
            registry,
            meter: meter.clone(),
            _provider: provider,
        };
        // A counter that shows only after its first event hides that event from `rate()`.
        metrics.original_dst_missing.add(0, &[]);
        meter
            .u64_observable_counter("mcpgw_audit_lines_lost")
            .with_description("Audit lines that could not be written: the queue was full or the sink failed.")
            .with_callback(move |lost| lost.observe(audit_lines_lost.load(Ordering::Relaxed), &[]))
            .build();
        meter
            .u64_observable_gauge("mcpgw_build_info")
            .with_description("The agent that runs; always 1.")
            .with_callback(|info| info.observe(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]))
            .build();
        Ok(metrics)
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(super) fn observe_plan(&self, generation: impl Fn() -> u64 + Send + Sync + 'static) {
        self.meter
            .u64_observable_gauge("mcpgw_plan_generation")
            .with_description("Generation of the plan that the proxy goes by.")
            .with_callback(move |gauge| gauge.observe(generation(), &[]))
            .build();
    }

    pub(super) fn observe_configuration(&self, errors: impl Fn() -> u64 + Send + Sync + 'static) {
        self.meter
            .u64_observable_gauge("mcpgw_configuration_errors")
            .with_description(
                "Errors in the configuration as it stands now; while there are any, the last good one is in force.",
            )
            .with_callback(move |gauge| gauge.observe(errors(), &[]))
            .build();
    }

    pub(super) fn observe_readiness(&self, components: impl Fn() -> Vec<(String, bool)> + Send + Sync + 'static) {
        self.meter
            .u64_observable_gauge("mcpgw_ready")
            .with_description("Whether a component of the agent is ready, as /readyz says.")
            .with_callback(move |gauge| {
                for (component, ready) in components() {
                    gauge.observe(u64::from(ready), &[KeyValue::new("component", component)]);
                }
            })
            .build();
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.add(1, &[KeyValue::new("reason", reason)]);
    }

    pub(super) fn stream_ended(&self, reason: &'static str) {
        self.streams_ended.add(1, &[KeyValue::new("reason", reason)]);
    }

    pub(super) fn strange_update(&self, server: &ObjectName) {
        let labels = [
            KeyValue::new("mcp_server_namespace", Arc::clone(&server.namespace)),
            KeyValue::new("mcp_server_name", Arc::clone(&server.name)),
        ];
        self.strange_updates.add(1, &labels);
    }

    pub(super) fn would_refuse(&self, reason: &'static str) {
        self.would_refuse.add(1, &[KeyValue::new("reason", reason)]);
    }

    pub(super) fn original_dst_missing(&self) {
        self.original_dst_missing.add(1, &[]);
    }

    pub(super) fn decision(&self, action: &'static str, rule: Option<Arc<str>>) {
        let rule = rule.unwrap_or_else(|| "none".into());
        self.decisions
            .add(1, &[KeyValue::new("action", action), KeyValue::new("rule", rule)]);
    }

    pub(super) fn rule_failed(&self, rule: Arc<str>) {
        self.failures.add(1, &[KeyValue::new("rule", rule)]);
    }

    pub(super) fn call(&self, call: &Finished<'_>) {
        let (source_namespace, source_account) = labels_of(call.caller.account());
        let server = call.server.map(|server| (&server.namespace, &server.name));
        let (server_namespace, server_name) = labels_of(server);
        let status = call
            .status
            .map_or("none".into(), |status| Value::from(i64::from(status)));
        // A method that is nobody's is the caller's word, and no label.
        let method = recorded(call.method).unwrap_or(OTHER);
        self.operation(call, method);
        let about = match &call.tool_label {
            Some(tool) => KeyValue::new("tool_name", Arc::clone(tool)),
            None => KeyValue::new("mcp_method_name", method),
        };
        let server = [
            KeyValue::new("mcp_server_namespace", server_namespace),
            KeyValue::new("mcp_server_name", server_name),
            about,
        ];
        if call.tool_label.is_some() {
            self.duration.record(call.duration.as_secs_f64(), &server);
            self.overhead.record(call.overhead.as_secs_f64(), &[]);
        }
        let [server_namespace, server_name, about] = server;
        let labels = [
            server_namespace,
            server_name,
            about,
            KeyValue::new("status_code", status),
            KeyValue::new("outcome", call.outcome.name()),
            KeyValue::new("path", call.path.name()),
            KeyValue::new("source_namespace", source_namespace),
            KeyValue::new("source_service_account", source_account),
        ];
        match call.tool_label {
            Some(_) => self.calls.add(1, &labels),
            None => self.requests.add(1, &labels),
        }
    }

    fn operation(&self, call: &Finished<'_>, method: &'static str) {
        let method = KeyValue::new("mcp.method.name", method);
        let tool = call.tool_label.as_ref();
        let tool = tool.map(|tool| KeyValue::new("gen_ai.tool.name", Arc::clone(tool)));
        let error = (call.outcome != Outcome::Ok).then(|| KeyValue::new("error.type", call.outcome.name()));
        let record = |labels: &[KeyValue]| self.operation.record(call.duration.as_secs_f64(), labels);
        match (tool, error) {
            (None, None) => record(&[method]),
            (Some(only), None) | (None, Some(only)) => record(&[method, only]),
            (Some(tool), Some(error)) => record(&[method, tool, error]),
        }
    }

    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics are incomplete: cannot encode them");
        }
        text
    }
}

/// The labels for a namespace and a name in it; empty where there is none.
fn labels_of(name: Option<(&Arc<str>, &Arc<str>)>) -> (Value, Value) {
    let label = |text: &Arc<str>| Value::from(Arc::clone(text));
    name.map_or(("".into(), "".into()), |(namespace, name)| {
        (label(namespace), label(name))
    })
}

fn bound_series(instrument: &Instrument) -> Option<Stream> {
    let calls = matches!(instrument.name(), CALLS | REQUESTS | DURATION | OPERATION);
    calls
        .then(|| Stream::builder().with_cardinality_limit(MAX_CALL_SERIES).build().ok())
        .flatten()
}

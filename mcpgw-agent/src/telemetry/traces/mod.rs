//! Traces: what a request was, as two spans, exported by OTLP. Nothing is made, read or sent unless the environment
//! names a collector.
//!
//! ```text
//! context  the trace that a request is part of, as the caller tells it and as the server is told
//! call     the spans of one request
//! export   the way of spans to the collector
//! ```

mod call;
mod context;
mod export;

use std::{sync::Arc, time::Duration};

use opentelemetry::{KeyValue, metrics::Meter, trace::TracerProvider as _};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use serde::{Deserialize, Serialize};

pub use context::{Carried, Propagated};

pub(super) use call::{CallSpans, Ended, Opened};

use super::otlp::{ExportError, ExportSettings, Worker, resource};
use export::{Bounded, Counts};

/// How long a shutdown waits for the spans that wait.
pub const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// How the export of traces does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracesHealth {
    /// The collector, as `http://host:port`.
    pub target: String,
    /// How it is spoken to: `gRPC` or `HTTP`.
    pub protocol: String,
    /// Spans that wait.
    pub waiting: usize,
    /// Spans that the collector took.
    pub exported: u64,
    /// Spans that were lost: there was no room, or the collector did not take them.
    pub lost: u64,
    /// Why the last export failed; `None` if it did not.
    pub error: Option<String>,
}

/// The export of traces.
pub(super) struct Traces {
    settings: ExportSettings,
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    counts: Arc<Counts>,
    _worker: Worker,
}

impl Traces {
    pub(super) fn start(node: &str, settings: &ExportSettings) -> Result<Self, ExportError> {
        let worker = Worker::start()?;
        let counts = Arc::<Counts>::default();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Bounded::new(settings, &worker, &counts)?)
            .with_resource(resource(node))
            .build();
        Ok(Self {
            settings: settings.clone(),
            tracer: provider.tracer("mcpgw"),
            provider,
            counts,
            _worker: worker,
        })
    }

    /// Opens the spans of a request; `None` if it is not one that is traced.
    pub(super) fn open(&self, opened: Opened<'_>) -> Option<Box<CallSpans>> {
        CallSpans::open(&self.tracer, opened).map(Box::new)
    }

    pub(super) fn health(&self) -> TracesHealth {
        TracesHealth {
            target: self.settings.target().to_owned(),
            protocol: self.settings.protocol().to_owned(),
            waiting: self.counts.waiting(),
            exported: self.counts.exported(),
            lost: self.counts.no_room() + self.counts.undelivered(),
            error: self.counts.error(),
        }
    }

    /// Creates the instruments; each scrape reads the counts as they are then.
    pub(super) fn observe(&self, meter: &Meter) {
        let counts = Arc::clone(&self.counts);
        meter
            .u64_observable_counter("mcpgw_spans_exported")
            .with_description("Spans that the collector took.")
            .with_callback(move |counter| counter.observe(counts.exported(), &[]))
            .build();
        let counts = Arc::clone(&self.counts);
        meter
            .u64_observable_counter("mcpgw_spans_lost")
            .with_description("Spans that were lost: there was no room for them, or the collector did not take them.")
            .with_callback(move |counter| {
                let reason = |word: &'static str| KeyValue::new("reason", word);
                counter.observe(counts.no_room(), &[reason("queue_full")]);
                counter.observe(counts.undelivered(), &[reason("not_delivered")]);
            })
            .build();
    }

    /// Exports what waits; `false` if that was not done within [`EXPORT_TIMEOUT`].
    pub(super) fn shutdown(&self) -> bool {
        self.provider.shutdown_with_timeout(EXPORT_TIMEOUT).is_ok() && self.counts.error().is_none()
    }
}

#[cfg(test)]
#[path = "traces_tests.rs"]
mod tests;

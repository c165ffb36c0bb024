//! The way of spans to the collector. A bounded number of them waits; what has no room, or cannot be delivered, is
//! counted and lost. Nothing here makes a call wait.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter as OtlpExporter;
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor},
};
use tokio::runtime::Handle;

use crate::telemetry::otlp::{ExportError, ExportSettings, Worker, span_exporter};

/// What became of spans.
#[derive(Debug, Default)]
pub(super) struct Counts {
    waiting: AtomicUsize,
    exported: AtomicU64,
    no_room: AtomicU64,
    undelivered: AtomicU64,
    error: Mutex<Option<String>>,
}

impl Counts {
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Spans that were lost for want of room in the queue.
    pub(super) fn no_room(&self) -> u64 {
        self.no_room.load(Ordering::Relaxed)
    }

    /// Spans that the collector did not take.
    pub(super) fn undelivered(&self) -> u64 {
        self.undelivered.load(Ordering::Relaxed)
    }

    /// Why the last export failed; `None` if it did not.
    pub(super) fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn settle(&self, spans: usize, result: &OTelSdkResult) {
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        let counter = if result.is_ok() {
            &self.exported
        } else {
            &self.undelivered
        };
        counter.fetch_add(spans as u64, Ordering::Relaxed);
        let error = result.as_ref().err().map(ToString::to_string);
        let mut last = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*last, &error) {
            (None, Some(error)) => tracing::warn!(error, "traces cannot be exported; they are being lost"),
            (Some(_), None) => tracing::info!("traces are exported again"),
            _ => {}
        }
        *last = error;
    }
}

/// Exports on the worker, and counts.
#[derive(Debug)]
struct Exporter {
    inner: Arc<OtlpExporter>,
    worker: Handle,
    counts: Arc<Counts>,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let inner = Arc::clone(&self.inner);
        // The batch processor's thread has no runtime, which the exporters need.
        let exported = self.worker.spawn(async move { inner.export(batch).await }).await;
        let result = exported.unwrap_or_else(|ended| Err(OTelSdkError::InternalFailure(ended.to_string())));
        self.counts.settle(spans, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Told before the first export, while nobody else has it.
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.set_resource(resource);
        }
    }
}

/// The SDK's batches, behind a door that counts whom it turns away. The SDK counts them too, and tells nobody.
#[derive(Debug)]
pub(super) struct Bounded {
    inner: BatchSpanProcessor,
    room: usize,
    counts: Arc<Counts>,
}

impl Bounded {
    pub(super) fn new(settings: &ExportSettings, worker: &Worker, counts: &Arc<Counts>) -> Result<Self, ExportError> {
        let exporter = Exporter {
            inner: Arc::new(span_exporter(settings, worker)?),
            worker: worker.handle().clone(),
            counts: Arc::clone(counts),
        };
        // Twice the room, since the SDK gives up a batch's places a moment after we do.
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(2 * settings.queue())
            .build();
        let inner = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        Ok(Self {
            inner,
            room: settings.queue(),
            counts: Arc::clone(counts),
        })
    }
}

impl SpanProcessor for Bounded {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.counts.waiting.fetch_add(1, Ordering::Relaxed) >= self.room {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counts.no_room.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

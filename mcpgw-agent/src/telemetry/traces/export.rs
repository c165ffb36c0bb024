//! The way of spans to the collector. A bounded number of them waits; what has no room, or cannot be delivered, is
//! counted and lost. Nothing here makes a call wait.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry::Context;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
    tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor},
};
use tokio::runtime::{Builder, Handle, Runtime};

use super::{
    TracesError,
    settings::{ExportSettings, Protocol},
};
use crate::web;

/// How long one request to a collector may take over HTTP. `OTEL_EXPORTER_OTLP_TIMEOUT` bounds all its tries.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

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

/// The thread on which exporters talk to their collector: neither calls nor control wait for it.
#[derive(Debug)]
pub(super) struct Worker(Option<Runtime>);

impl Worker {
    pub(super) fn start() -> Result<Self, TracesError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mcpgw-otlp")
            .enable_all()
            .build()
            .map_err(TracesError::Thread)?;
        Ok(Self(Some(runtime)))
    }

    pub(super) fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Waits for nothing: it may be dropped where waiting is not allowed.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
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
    pub(super) fn new(settings: &ExportSettings, worker: &Worker, counts: &Arc<Counts>) -> Result<Self, TracesError> {
        let handle = worker.handle().ok_or(TracesError::Stopped)?;
        let exporter = Exporter {
            inner: Arc::new(otlp(settings, &handle)?),
            worker: handle,
            counts: Arc::clone(counts),
        };
        // Twice the room, since the SDK gives up a batch's places a moment after we do.
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(2 * settings.queue)
            .build();
        let inner = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        Ok(Self {
            inner,
            room: settings.queue,
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

fn otlp(settings: &ExportSettings, worker: &Handle) -> Result<OtlpExporter, TracesError> {
    // Connections belong to the runtime that is entered while they are made.
    let _on_worker = worker.enter();
    let built: Result<_, ExporterBuildError> = match settings.protocol {
        Protocol::Grpc => OtlpExporter::builder()
            .with_tonic()
            .with_tls_config(ClientTlsConfig::new().with_enabled_roots())
            .build(),
        Protocol::HttpProtobuf => {
            let tls = web::tls(web::system_authorities()).map_err(TracesError::Tls)?;
            let connector = HttpsConnectorBuilder::new()
                .with_tls_config(tls)
                .https_or_http()
                .enable_http1()
                .build();
            OtlpExporter::builder()
                .with_http()
                .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
                .with_http_client(HyperClient::new(connector, REQUEST_TIMEOUT, None))
                .build()
        }
    };
    built.map_err(|error| TracesError::Exporter(error.to_string()))
}

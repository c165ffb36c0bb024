//! What traces and the audit log have in common where they are exported: how a collector is reached.
//!
//! ```text
//! settings  what the OTEL_* variables say
//! ```

mod settings;

use std::{io, time::Duration};

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::KeyValue;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    LogExporter, Protocol as Otlp, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
    tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::Resource;
use tokio::runtime::{Builder, Handle, Runtime};

pub use settings::{ExportSettings, ExportSettingsError};

use settings::Protocol;

use crate::web;

/// How long one request to a collector may take over HTTP. `OTEL_EXPORTER_OTLP_TIMEOUT` bounds all its tries.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The exporter's thread.
    #[error("cannot start the thread that exports telemetry: {0}")]
    Thread(#[source] io::Error),
    /// TLS cannot be set up.
    #[error("cannot set up TLS to export telemetry: {0}")]
    Tls(#[source] rustls::Error),
    /// The exporter refused its configuration.
    #[error("cannot set up the export of telemetry: {0}")]
    Exporter(String),
}

/// The thread on which exporters talk to their collector: neither calls nor control wait for it.
#[derive(Debug)]
pub(super) struct Worker {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Worker {
    pub(super) fn start() -> Result<Self, ExportError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mcpgw-otlp")
            .enable_all()
            .build()
            .map_err(ExportError::Thread)?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Waits for nothing: it may be dropped where waiting is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What exports spans. It must be asked on the worker.
pub(super) fn span_exporter(settings: &ExportSettings, worker: &Worker) -> Result<SpanExporter, ExportError> {
    // Connections belong to the runtime that is entered while they are made.
    let _on_worker = worker.handle.enter();
    let built = match settings.protocol {
        Protocol::Grpc => SpanExporter::builder().with_tonic().with_tls_config(roots()).build(),
        Protocol::HttpProtobuf => SpanExporter::builder()
            .with_http()
            .with_protocol(Otlp::HttpBinary)
            .with_http_client(client()?)
            .build(),
    };
    built.map_err(|error| ExportError::Exporter(error.to_string()))
}

/// What exports log records. It must be asked on the worker.
pub(super) fn log_exporter(settings: &ExportSettings, worker: &Worker) -> Result<LogExporter, ExportError> {
    let _on_worker = worker.handle.enter();
    let built = match settings.protocol {
        Protocol::Grpc => LogExporter::builder().with_tonic().with_tls_config(roots()).build(),
        Protocol::HttpProtobuf => LogExporter::builder()
            .with_http()
            .with_protocol(Otlp::HttpBinary)
            .with_http_client(client()?)
            .build(),
    };
    built.map_err(|error| ExportError::Exporter(error.to_string()))
}

/// Whom gRPC trusts: the system's authorities.
fn roots() -> ClientTlsConfig {
    ClientTlsConfig::new().with_enabled_roots()
}

/// What speaks HTTP, over TLS where the URL says so; it trusts the system's authorities.
fn client() -> Result<HyperClient<HttpsConnector<HttpConnector>>, ExportError> {
    let tls = web::tls(web::system_authorities()).map_err(ExportError::Tls)?;
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build();
    Ok(HyperClient::new(connector, REQUEST_TIMEOUT, None))
}

/// What is exported is of: this agent on this node. What the environment says beats what is said here.
pub(super) fn resource(node: &str) -> Resource {
    let said = Resource::builder().build();
    let mut builder = Resource::builder();
    for (key, value) in [
        ("service.name", "mcpgw"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", node),
        ("host.name", node),
    ] {
        let known = said.get(&key.into());
        let is_said = known.is_some_and(|known| !known.as_str().starts_with("unknown_service"));
        if !is_said {
            builder = builder.with_attribute(KeyValue::new(key, value.to_owned()));
        }
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_the_service_or_else_we_do() {
        let named = resource("node-1");
        let says = |key: &'static str| named.get(&key.into()).map(|value| value.to_string());
        assert_eq!(says("service.name").as_deref(), Some("mcpgw"));
        assert_eq!(says("service.instance.id").as_deref(), Some("node-1"));
    }
}

//! A real OpenTelemetry collector on the node's loopback, and what it received.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{Node, Process, tools, until};
use serde_json::Value;
use tempfile::TempDir;

/// For it to listen.
const LIMIT: Duration = Duration::from_secs(30);
/// For what was exported to be written by it.
const SOON: Duration = Duration::from_secs(20);

/// How the agent speaks to it.
#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    Grpc,
    Http,
}

/// A running collector. Killed on drop.
pub struct Collector {
    process: Process,
    output: PathBuf,
    _directory: TempDir,
}

impl Collector {
    /// Starts it, with both protocols.
    pub fn start(node: &Node) -> Result<Self> {
        let program = tools::collector()?;
        ensure!(
            program.exists(),
            "{} is missing: run cargo xtask setup",
            program.display()
        );
        let directory = TempDir::new().context("make the collector's directory")?;
        let (configuration, output) = (directory.path().join("config.yaml"), directory.path().join("out.json"));
        let text = format!(
            "receivers:\n  otlp:\n    protocols:\n      grpc: {{endpoint: {}}}\n      http: {{endpoint: {}}}\n\
             exporters:\n  file: {{path: {:?}, flush_interval: 100ms}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
             traces: {{receivers: [otlp], exporters: [file]}}\n    \
             logs: {{receivers: [otlp], exporters: [file]}}\n",
            Protocol::Grpc.address(),
            Protocol::Http.address(),
            output
        );
        fs::write(&configuration, text).context("write the collector's configuration")?;
        let mut command = node.command(program)?;
        command.arg(format!("--config=file:{}", configuration.display()));
        let mut process = Process::spawn("collector", command)?;
        let up = process.stderr().wait_for(LIMIT, "ready", |line| {
            line.contains("Everything is ready").then_some(())
        });
        if up.is_err() {
            up.with_context(|| process.epitaph())?;
        }
        Ok(Self {
            process,
            output,
            _directory: directory,
        })
    }

    /// What it wrote so far; a line that is being written is not read yet.
    fn written(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(&self.output).context("read what the collector wrote")?;
        Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }

    /// The audit lines that it received so far, each with its record.
    pub fn audit(&self) -> Result<Vec<(Value, Value)>> {
        let mut lines = Vec::new();
        for line in self.written()? {
            for of_resource in array(&line["resourceLogs"]) {
                for of_scope in array(&of_resource["scopeLogs"]) {
                    for record in array(&of_scope["logRecords"]) {
                        let body = record["body"]["stringValue"]
                            .as_str()
                            .context("a record without a body")?;
                        lines.push((
                            serde_json::from_str(body).context("parse a record's body")?,
                            record.clone(),
                        ));
                    }
                }
            }
        }
        Ok(lines)
    }

    /// The spans that it received so far.
    pub fn spans(&self) -> Result<Vec<Span>> {
        let mut spans = Vec::new();
        for line in self.written()? {
            for of_resource in array(&line["resourceSpans"]) {
                for of_scope in array(&of_resource["scopeSpans"]) {
                    let span = |span: &Value| Span {
                        span: span.clone(),
                        resource: of_resource["resource"].clone(),
                    };
                    spans.extend(array(&of_scope["spans"]).iter().map(span));
                }
            }
        }
        Ok(spans)
    }

    /// Waits until it has received a span that `matches`.
    pub fn span(&self, what: &str, matches: impl Fn(&Span) -> bool) -> Result<Span> {
        let mut found = None;
        let waited = until(SOON, what, || {
            found = self.spans().unwrap_or_default().into_iter().find(&matches);
            found.is_some()
        });
        waited.with_context(|| format!("the collector has {:#?}", self.spans().unwrap_or_default()))?;
        found.context("no such span")
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Protocol {
    /// Where the collector listens, in the node's own network namespace.
    pub fn address(self) -> SocketAddr {
        let port = match self {
            Self::Grpc => 4317,
            Self::Http => 4318,
        };
        ([127, 0, 0, 1], port).into()
    }

    /// The environment by which an agent exports to it.
    pub fn environment(self) -> Vec<(String, String)> {
        let protocol = match self {
            Self::Grpc => "grpc",
            Self::Http => "http/protobuf",
        };
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", self.address())),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
            // So that a test need not wait for the next batch.
            ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// A span, as OTLP's JSON has it.
#[derive(Clone, Debug)]
pub struct Span {
    span: Value,
    resource: Value,
}

/// `SpanKind` of OTLP.
pub const SERVER: i64 = 2;
/// `SpanKind` of OTLP.
pub const CLIENT: i64 = 3;
/// `StatusCode` of OTLP.
pub const ERROR: i64 = 2;

impl Span {
    pub fn name(&self) -> &str {
        self.span["name"].as_str().unwrap_or_default()
    }

    pub fn kind(&self) -> i64 {
        self.span["kind"].as_i64().unwrap_or_default()
    }

    pub fn trace(&self) -> &str {
        self.span["traceId"].as_str().unwrap_or_default()
    }

    pub fn id(&self) -> &str {
        self.span["spanId"].as_str().unwrap_or_default()
    }

    /// Empty for the first of a trace.
    pub fn parent(&self) -> &str {
        self.span["parentSpanId"].as_str().unwrap_or_default()
    }

    pub fn state(&self) -> &str {
        self.span["traceState"].as_str().unwrap_or_default()
    }

    pub fn status(&self) -> i64 {
        self.span["status"]["code"].as_i64().unwrap_or_default()
    }

    /// Nanoseconds since 1970.
    pub fn times(&self) -> (u64, u64) {
        let time = |name: &str| self.span[name].as_str().and_then(|text| text.parse().ok());
        (
            time("startTimeUnixNano").unwrap_or_default(),
            time("endTimeUnixNano").unwrap_or_default(),
        )
    }

    /// An attribute as text; `None` if it is not there.
    pub fn attribute(&self, key: &str) -> Option<String> {
        let mut values = array(&self.span["attributes"])
            .iter()
            .filter(|attribute| attribute["key"] == key)
            .map(|attribute| text(&attribute["value"]));
        let value = values.next();
        assert!(values.next().is_none(), "{key} is there twice: {self:?}");
        value
    }

    /// An attribute of what made it.
    pub fn resource(&self, key: &str) -> Option<String> {
        let attributes = array(&self.resource["attributes"]);
        let found = attributes.iter().find(|attribute| attribute["key"] == key)?;
        Some(text(&found["value"]))
    }

    /// All that it says, as text.
    pub fn everything(&self) -> String {
        self.span.to_string()
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    let value = value.as_object().and_then(|kinds| kinds.values().next());
    match value {
        Some(Value::String(text)) => text.clone(),
        other => other.map(ToString::to_string).unwrap_or_default(),
    }
}

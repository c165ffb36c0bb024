//! Lines on their way to an OpenTelemetry collector: each is a log record whose body is the line.

use std::{borrow::Cow, io, time::SystemTime};

use opentelemetry::{
    InstrumentationScope,
    logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity},
};
use opentelemetry_otlp::LogExporter;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _, SdkLogRecord, SdkLogger, SdkLoggerProvider};
use serde::Deserialize;

use super::{event_name::EventName, sink::Sink};
use crate::telemetry::otlp::{ExportError, ExportSettings, Worker, log_exporter, resource};

/// What a line says that a record says beside its body.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    event: EventName,
}

/// A collector.
pub(super) struct Exported {
    exporter: LogExporter,
    /// Makes records, and no more.
    records: SdkLogger,
    scope: InstrumentationScope,
    worker: Worker,
}

impl Exported {
    pub(super) fn start(node: &str, settings: &ExportSettings) -> Result<Self, ExportError> {
        let worker = Worker::start()?;
        let mut exporter = log_exporter(settings, &worker)?;
        exporter.set_resource(&resource(node));
        Ok(Self {
            exporter,
            records: SdkLoggerProvider::builder().build().logger("mcpgw"),
            scope: InstrumentationScope::builder("mcpgw").build(),
            worker,
        })
    }
}

impl Sink for Exported {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(lines);
        let records: Vec<SdkLogRecord> = text.lines().map(|line| record(&self.records, line)).collect();
        let batch: Vec<_> = records.iter().map(|record| (record, &self.scope)).collect();
        let exported = self
            .worker
            .handle()
            .block_on(self.exporter.export(LogBatch::new(&batch)));
        exported.map_err(io::Error::other)
    }
}

/// Where settings want lines to be exported, and there is no way: every line is one that cannot be written.
pub(super) struct Nowhere(pub(super) String);

impl Nowhere {
    /// The environment names no collector.
    pub(super) fn no_collector() -> Self {
        Self(
            "spec.audit.sink is OTLP, and neither OTEL_EXPORTER_OTLP_LOGS_ENDPOINT nor OTEL_EXPORTER_OTLP_ENDPOINT \
             names a collector"
                .to_owned(),
        )
    }
}

impl Sink for Nowhere {
    fn write(&mut self, _lines: &[u8]) -> io::Result<()> {
        Err(io::Error::other(self.0.clone()))
    }
}

fn record(records: &SdkLogger, line: &str) -> SdkLogRecord {
    let mut record = records.create_log_record();
    if let Ok(Line { time, event }) = serde_json::from_str(line) {
        if let Ok(time) = humantime::parse_rfc3339(&time) {
            record.set_timestamp(time);
        }
        record.set_event_name(event.exported());
    }
    record.set_observed_timestamp(SystemTime::now());
    record.set_severity_number(Severity::Info);
    record.set_severity_text("INFO");
    record.set_body(AnyValue::String(line.to_owned().into()));
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_a_line_has_the_name_of_its_event() {
        let records = SdkLoggerProvider::builder().build().logger("test");
        for event in [
            EventName::ToolCall,
            EventName::McpRequest,
            EventName::ToolDefinition,
            EventName::Refused,
            EventName::WouldDeny,
            EventName::StreamEnded,
            EventName::LinesLost,
        ] {
            let word = serde_json::to_value(event).unwrap();
            let line = serde_json::json!({"time": "2025-01-01T03:04:05.007Z", "event": word}).to_string();
            let record = record(&records, &line);
            let expected = format!("mcpgw.{}", word.as_str().unwrap());
            assert_eq!(record.event_name(), Some(&*expected));
            assert!(record.timestamp().is_some());
        }
    }
}

//! What the standard `OTEL_*` variables say: whether something is exported, where to and how.
//!
//! Most of them the exporter reads for itself: headers, time limits, the sampler, attributes of the resource. Here is
//! what it cannot know.

use std::env;

use http::Uri;

/// Spans that may wait to be exported, where `OTEL_BSP_MAX_QUEUE_SIZE` does not say: as the specification has it.
const QUEUE: usize = 2_048;
/// Most spans that may wait, whatever it says.
const MAX_QUEUE: usize = 65_536;

/// Where something is exported to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportSettings {
    pub(super) protocol: Protocol,
    /// The collector, without what may be secret in its URL.
    target: String,
    /// Spans that may wait.
    queue: usize,
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    HttpProtobuf,
}

/// The environment asks for what cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportSettingsError {
    /// The protocol.
    #[error("{variable} is {value:?}: only \"grpc\" and \"http/protobuf\" are known")]
    Protocol {
        /// The variable that names it.
        variable: String,
        /// What it says.
        value: String,
    },
    /// The exporter.
    #[error("{variable} is {value:?}: only \"otlp\" and \"none\" are known")]
    Exporter {
        /// The variable that names it.
        variable: String,
        /// What it says.
        value: String,
    },
    /// The endpoint. It is not shown, since there may be a secret in it.
    #[error("{variable} is no URL of http:// or https://")]
    Endpoint {
        /// The variable that names it.
        variable: String,
    },
}

impl Protocol {
    const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "gRPC",
            Self::HttpProtobuf => "HTTP",
        }
    }
}

impl ExportSettings {
    /// How traces are exported; `None` where no endpoint is set, or exporting is off.
    pub fn of_traces() -> Result<Option<Self>, ExportSettingsError> {
        Self::read("TRACES", |name| env::var(name).ok())
    }

    /// How log records are exported; `None` where no endpoint is set, or exporting is off.
    pub fn of_logs() -> Result<Option<Self>, ExportSettingsError> {
        Self::read("LOGS", |name| env::var(name).ok())
    }

    /// The collector, as `http://host:port`.
    pub(in crate::telemetry) fn target(&self) -> &str {
        &self.target
    }

    /// How it is spoken to: `gRPC` or `HTTP`.
    pub(in crate::telemetry) fn protocol(&self) -> &'static str {
        self.protocol.name()
    }

    /// Spans that may wait.
    pub(in crate::telemetry) fn queue(&self) -> usize {
        self.queue
    }

    #[cfg(test)]
    pub(in crate::telemetry) fn to_nobody(queue: usize) -> Self {
        Self {
            protocol: Protocol::HttpProtobuf,
            target: "http://127.0.0.1:1".to_owned(),
            queue,
        }
    }

    /// How one signal is exported, by the variables that there are.
    fn read(signal: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, ExportSettingsError> {
        // An empty variable is one that is not set.
        let variable = |name: &str| {
            variable(name)
                .map(|value| value.trim().to_owned())
                .filter(|value| !value.is_empty())
        };
        // What is said of one signal beats what is said of all.
        let said = |what: &str| {
            [
                format!("OTEL_EXPORTER_OTLP_{signal}_{what}"),
                format!("OTEL_EXPORTER_OTLP_{what}"),
            ]
            .into_iter()
            .find_map(|name| variable(&name).map(|value| (name, value)))
        };
        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let name = format!("OTEL_{signal}_EXPORTER");
        match variable(&name) {
            Some(exporter) if exporter == "none" => return Ok(None),
            Some(value) if value != "otlp" => return Err(ExportSettingsError::Exporter { variable: name, value }),
            _ => {}
        }
        let Some((named, endpoint)) = said("ENDPOINT") else {
            return Ok(None);
        };
        let target = target(&endpoint).ok_or(ExportSettingsError::Endpoint { variable: named })?;
        let protocol = match said("PROTOCOL") {
            None => Protocol::HttpProtobuf,
            Some((variable, value)) => match &*value {
                "grpc" => Protocol::Grpc,
                "http/protobuf" => Protocol::HttpProtobuf,
                _ => return Err(ExportSettingsError::Protocol { variable, value }),
            },
        };
        let queue = variable("OTEL_BSP_MAX_QUEUE_SIZE").and_then(|size| size.parse().ok());
        Ok(Some(Self {
            protocol,
            target,
            queue: queue.unwrap_or(QUEUE).clamp(1, MAX_QUEUE),
        }))
    }
}

/// Scheme, host and port of a URL.
fn target(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri.authority()?.as_str();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    Some(format!("{scheme}://{place}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<ExportSettings>, ExportSettingsError> {
        ExportSettings::read("TRACES", |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318/otlp");

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_set() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]), Ok(None));
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Ok(None));
        assert_eq!(read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(None));
        assert_eq!(read(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
        let expected = ExportSettings {
            protocol: Protocol::HttpProtobuf,
            target: "https://collector:4318".to_owned(),
            queue: QUEUE,
        };
        assert_eq!(read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "1")]), Ok(Some(expected)));
    }

    #[test]
    fn what_is_said_of_traces_beats_what_is_said_of_all() {
        let own = [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:secret@traces:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "999999999"),
            ENDPOINT,
        ];
        let expected = ExportSettings {
            protocol: Protocol::Grpc,
            target: "http://traces:4317".to_owned(),
            queue: MAX_QUEUE,
        };
        assert_eq!(read(&own), Ok(Some(expected)));
    }

    #[test]
    fn what_cannot_be_done_is_an_error_and_shows_no_secret() {
        let protocol = read(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]);
        assert!(matches!(protocol, Err(ExportSettingsError::Protocol { .. })));
        let exporter = read(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "zipkin")]);
        assert!(matches!(exporter, Err(ExportSettingsError::Exporter { .. })));
        let endpoint = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://user:secret@host")]).unwrap_err();
        assert!(!endpoint.to_string().contains("secret"), "{endpoint}");
    }
}

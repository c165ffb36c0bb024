//! `MCPServer`: where an MCP server is, and how it is reached.

use std::sync::Arc;

use super::{
    Backend, Capture, ClientTls, Expose, LabelSelector, Labels, Namespaces, ObjectName, Pin, Server, Timeouts,
    Transport, backend,
    bounds::{MAX_OTHER_PATHS, MAX_PREFIX_BYTES},
    credential,
    document::Spot,
    fields::{Field, Fields, Schema, Sink},
    namespaces, path,
    problem::quote,
    selector, timeouts, tls,
};

const SPEC: Schema = Schema {
    known: &[
        "backend",
        "path",
        "transport",
        "prefix",
        "tls",
        "clientTLS",
        "otherNames",
        "timeouts",
        "otherPaths",
        "exposeTo",
        "capture",
        "credential",
        "pin",
        "trustAnnotations",
    ],
    later: &[],
};
const EXPOSE: Schema = Schema {
    known: &["namespaces", "selector"],
    later: &[],
};

/// A server, and where its addresses (in their order) or its host stand.
pub(super) struct Parsed {
    pub server: Server,
    pub spots: Vec<Spot>,
    /// Where its prefix stands, if the file says it.
    pub prefix_spot: Option<Spot>,
}

/// Every field is read before the first that is wrong makes the whole void, so that all are reported.
pub(super) fn read(name: ObjectName, labels: Labels, spec: &Field, sink: &mut Sink) -> Option<Parsed> {
    let spec = spec.fields(&SPEC, sink)?;
    let transport = optional(&spec, "transport", sink, Transport::default(), |field, sink| {
        let choices = [("StreamableHTTP", Transport::StreamableHttp), ("SSE", Transport::Sse)];
        field.choice(&choices, &[], sink)
    });
    let path = match spec.optional("path") {
        Some(field) => path::http(&field, sink),
        None => transport.map(|transport| default_path(transport).to_owned()),
    };
    let prefix = prefix(&name, &spec, sink);
    let tls = optional(&spec, "tls", sink, None, |field, sink| {
        tls::upstream(field, sink).map(Some)
    });
    let client_tls = optional(&spec, "clientTLS", sink, ClientTls::default(), tls::client);
    let other_names = optional(&spec, "otherNames", sink, true, |field, sink| {
        field.choice(&[("Pass", true), ("Refuse", false)], &[], sink)
    });
    let timeouts = optional(&spec, "timeouts", sink, Timeouts::default(), timeouts::read);
    let other_paths = optional(&spec, "otherPaths", sink, Vec::new(), |field, sink| {
        other_paths(field, path.as_deref(), sink)
    });
    let expose_to = optional(&spec, "exposeTo", sink, Expose::default(), expose_to);
    let capture = optional(&spec, "capture", sink, None, |field, sink| {
        let choices = [
            ("Redirect", Capture::Redirect),
            ("GatewayOnly", Capture::GatewayOnly),
            ("Off", Capture::Off),
        ];
        field.choice(&choices, &[], sink).map(Some)
    });
    let credential = optional(&spec, "credential", sink, None, |field, sink| {
        credential::read(field, sink).map(|credential| Some(Arc::new(credential)))
    });
    let pin = optional(&spec, "pin", sink, Pin::default(), |field, sink| {
        let choices = [("Off", Pin::Off), ("Warn", Pin::Warn), ("Enforce", Pin::Enforce)];
        field.choice(&choices, &[], sink)
    });
    if let (Some(Pin::Enforce), Some(ClientTls::Passthrough), Some(field)) = (&pin, &client_tls, spec.optional("pin")) {
        field.report(
            sink,
            "Enforce cannot be with clientTLS Passthrough, where nothing is read: use Terminate",
        );
    }
    let trust_annotations = optional(&spec, "trustAnnotations", sink, false, |field, sink| field.flag(sink));
    let backend::Parsed {
        backend,
        spots,
        protocol,
    } = backend::read(&spec.required("backend", sink)?, sink)?;
    if let (Backend::Addresses { .. }, Some(field)) = (&backend, spec.optional("otherNames")) {
        field.report(sink, "says something about a backend.host only; leave it out");
        return None;
    }
    let tls = tls?;
    if let (Some(spot), Some(_)) = (protocol, &tls) {
        let reason = "h2c is HTTP/2 without TLS, and tls is set: leave appProtocol out, TLS agrees on HTTP/2 by itself";
        sink.report(spot.at, &spot.path, reason);
    }
    Some(Parsed {
        server: Server {
            name,
            labels,
            path: path?.into(),
            transport: transport?,
            prefix: prefix?.into(),
            tls,
            client_tls: client_tls?,
            passes_other_names: other_names?,
            timeouts: timeouts?,
            other_paths: other_paths?,
            expose_to: expose_to?,
            capture: capture?.unwrap_or(default_capture(&backend)),
            credential: credential?,
            pin: pin?,
            trust_annotations: trust_annotations?,
            backend,
        },
        spots,
        prefix_spot: spec.optional("prefix").map(|field| Spot::from(&field)),
    })
}

/// What `read` makes of a field, or `absent` where it is not there; `None` where it is wrong.
fn optional<T>(
    spec: &Fields,
    name: &str,
    sink: &mut Sink,
    absent: T,
    read: impl FnOnce(&Field, &mut Sink) -> Option<T>,
) -> Option<T> {
    match spec.optional(name) {
        Some(field) => read(&field, sink),
        None => Some(absent),
    }
}

fn default_path(transport: Transport) -> &'static str {
    match transport {
        Transport::StreamableHttp => "/mcp",
        Transport::Sse => "/sse",
    }
}

fn default_capture(backend: &Backend) -> Capture {
    match backend {
        Backend::Addresses { .. } => Capture::Redirect,
        // What a name resolves to changes, and may be shared with what is no MCP server.
        Backend::Host { .. } => Capture::Off,
    }
}

/// A prefix is never shortened: tool names with it are in clients' hands.
fn prefix(name: &ObjectName, spec: &Fields, sink: &mut Sink) -> Option<String> {
    let Some(field) = spec.optional("prefix") else {
        let default = format!("{}_", name.name);
        if default.len() > MAX_PREFIX_BYTES {
            let reason = format!(
                "is required here: the default, {}, is {} bytes long and at most {MAX_PREFIX_BYTES} are allowed; choose a shorter one",
                quote(&default),
                default.len()
            );
            spec.report_missing("prefix", sink, reason);
            return None;
        }
        return Some(default);
    };
    let text = field.text(sink)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let reason = if text.len() > MAX_PREFIX_BYTES {
        format!("is {} bytes long; at most {MAX_PREFIX_BYTES} are allowed", text.len())
    } else if let Some(strange) = text.chars().find(|c| !allowed(*c)) {
        format!(
            "{} has a {strange:?}; use letters, digits and \"_\", \".\", \"-\", or \"\" for none",
            quote(text)
        )
    } else {
        return Some(text.to_owned());
    };
    field.report(sink, reason);
    None
}

fn other_paths(field: &Field, endpoint: Option<&str>, sink: &mut Sink) -> Option<Vec<Arc<str>>> {
    let list = field.list(MAX_OTHER_PATHS, "leave it out to let callers read no other path", sink)?;
    let mut paths: Vec<Arc<str>> = Vec::new();
    for field in &list {
        let Some(path) = path::http(field, sink) else { continue };
        if Some(path.as_str()) == endpoint {
            field.report(sink, format!("{} is the path of the MCP endpoint itself", quote(&path)));
        } else if paths.iter().any(|known| **known == *path) {
            field.report(sink, format!("{} is listed twice", quote(&path)));
        } else {
            paths.push(path.into());
        }
    }
    Some(paths)
}

fn expose_to(field: &Field, sink: &mut Sink) -> Option<Expose> {
    let fields = field.fields(&EXPOSE, sink)?;
    let advice = "leave exposeTo out to show the server to its own namespace only";
    match (fields.optional("namespaces"), fields.optional("selector")) {
        (Some(list), None) => Some(match namespaces::read(&list, advice, sink)? {
            Namespaces::All => Expose::Everyone,
            Namespaces::These(namespaces) => Expose::Namespaces(namespaces),
        }),
        (None, Some(field)) => {
            let wanted = field.fields(&selector::SELECTOR, sink)?;
            let by = selector::of(&wanted, sink)?;
            if by == LabelSelector::default() {
                wanted.report(
                    sink,
                    "selects by nothing; write namespaces: [\"*\"] to show the server to everyone",
                );
                return None;
            }
            let within = Namespaces::All;
            Some(Expose::Selected { by, within })
        }
        _ => {
            fields.report(
                sink,
                format!("must have exactly one of: namespaces, selector; or {advice}"),
            );
            None
        }
    }
}

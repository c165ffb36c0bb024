//! `ClusterMCPSettings.spec.rateLimitService` and `.extAuthz`: services outside that are asked about calls.

use std::{net::IpAddr, ops::RangeInclusive, sync::Arc, time::Duration};

use super::{
    UpstreamTls,
    bounds::MAX_NAME_BYTES,
    fields::{Field, Fields, Schema, Sink},
    host,
    problem::quote,
    timeouts, tls,
};

/// A service that is asked about calls by gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Its name or IP address.
    pub host: Arc<str>,
    /// The port there.
    pub port: u16,
    /// TLS towards it; `None`: plain HTTP/2.
    pub tls: Option<UpstreamTls>,
    /// How long it may take to answer.
    pub timeout: Duration,
    /// What becomes of a call that it does not answer about.
    pub on_failure: OnFailure,
}

impl Engine {
    /// Where it is, as `host:port`.
    pub fn address(&self) -> String {
        match self.host.parse() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

/// What becomes of a call where a service does not answer in time, or with nothing that can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is refused.
    #[default]
    Closed,
    /// It goes on as if the service were not there.
    Open,
}

impl OnFailure {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "Closed",
            Self::Open => "Open",
        }
    }
}

/// A service that counts calls for the whole cluster: Envoy's rate limit protocol, as envoyproxy/ratelimit has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitService {
    /// Where it is.
    pub engine: Engine,
    /// Which of its domains is ours.
    pub domain: Arc<str>,
    /// How it is asked where a limit says nothing.
    pub mode: Asking,
}

/// A policy engine: Envoy's authorization protocol, `ext_authz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtAuthz {
    /// Where it is.
    pub engine: Engine,
    /// Whether it is told the arguments of calls.
    pub include_arguments: bool,
}

/// How a rate limit service is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asking {
    /// The call waits for its answer.
    #[default]
    InLine,
    /// The call goes on; if the answer is that the budget is spent, the calls after it are refused until it is whole
    /// again.
    Background,
}

impl Asking {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InLine => "InLine",
            Self::Background => "Background",
        }
    }
}

const RATE_LIMIT: Schema = Schema {
    known: &["address", "tls", "timeout", "failureMode", "domain", "mode"],
    later: &[],
};
const EXT_AUTHZ: Schema = Schema {
    known: &["address", "tls", "timeout", "failureMode", "includeArguments"],
    later: &[],
};
const DOMAIN: &str = "mcpgw";
const RATE_LIMIT_TIMEOUT: Duration = Duration::from_millis(100);
const EXT_AUTHZ_TIMEOUT: Duration = Duration::from_millis(200);
/// What `timeout` may be: every call that it is asked about can take so much longer.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(30);

/// The service at `field`.
pub(super) fn rate_limit_service(field: &Field, sink: &mut Sink) -> Option<RateLimitService> {
    let fields = field.fields(&RATE_LIMIT, sink)?;
    let engine = engine(&fields, "ratelimit:8081", RATE_LIMIT_TIMEOUT, sink);
    let domain = match fields.optional("domain") {
        Some(field) => domain(&field, sink),
        None => Some(DOMAIN.into()),
    };
    let mode = match fields.optional("mode") {
        Some(field) => asking(&field, sink),
        None => Some(Asking::default()),
    };
    Some(RateLimitService {
        engine: engine?,
        domain: domain?,
        mode: mode?,
    })
}

/// The policy engine at `field`.
pub(super) fn ext_authz(field: &Field, sink: &mut Sink) -> Option<ExtAuthz> {
    let fields = field.fields(&EXT_AUTHZ, sink)?;
    let engine = engine(&fields, "opa:9191", EXT_AUTHZ_TIMEOUT, sink);
    let include_arguments = match fields.optional("includeArguments") {
        Some(field) => field.flag(sink),
        None => Some(false),
    };
    Some(ExtAuthz {
        engine: engine?,
        include_arguments: include_arguments?,
    })
}

/// How the service is asked.
pub(super) fn asking(field: &Field, sink: &mut Sink) -> Option<Asking> {
    let choices = [Asking::InLine, Asking::Background].map(|asking| (asking.as_str(), asking));
    field.choice(&choices, &[], sink)
}

fn engine(fields: &Fields, example: &str, default_timeout: Duration, sink: &mut Sink) -> Option<Engine> {
    if !fields.has("address") {
        fields.report_missing("address", sink, format!("is required, for example {}", quote(example)));
    }
    let address = fields
        .optional("address")
        .and_then(|field| address(&field, example, sink));
    let tls = match fields.optional("tls") {
        Some(field) => tls::upstream(&field, sink).map(Some),
        None => Some(None),
    };
    let timeout = match fields.optional("timeout") {
        Some(field) => timeouts::within(&field, TIMEOUT, sink),
        None => Some(default_timeout),
    };
    let on_failure = match fields.optional("failureMode") {
        Some(field) => {
            let choices = [OnFailure::Closed, OnFailure::Open].map(|mode| (mode.as_str(), mode));
            field.choice(&choices, &[], sink)
        }
        None => Some(OnFailure::default()),
    };
    let (host, port) = address?;
    Some(Engine {
        host,
        port,
        tls: tls?,
        timeout: timeout?,
        on_failure: on_failure?,
    })
}

/// The `host:port` at `field`: a name, or an IP address. Loopback is fine: it is the operator's choice, and often a
/// service beside the agent.
fn address(field: &Field, example: &str, sink: &mut Sink) -> Option<(Arc<str>, u16)> {
    let text = field.text(sink)?;
    let address = parse(text);
    if address.is_none() {
        let advice = match meant(text) {
            Some(meant) => format!("write {}", quote(&meant)),
            None => format!("for example {}", quote(example)),
        };
        let tls = match text.starts_with("https:") || text.starts_with("grpcs:") {
            true => " and tls: {}",
            false => "",
        };
        field.report(
            sink,
            format!("{} is not of the form host:port, {advice}{tls}", quote(text)),
        );
    }
    address
}

/// The address that somebody most likely means who wrote a URL, or an IPv6 address without its brackets.
fn meant(text: &str) -> Option<String> {
    let authority = match text.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next()?,
        None => text,
    };
    let bracketed = || {
        let (host, port) = authority.rsplit_once(':')?;
        Some(format!("[{host}]:{port}"))
    };
    let address = [Some(authority.to_owned()), bracketed()].into_iter().flatten();
    address.into_iter().find(|address| parse(address).is_some())
}

fn parse(text: &str) -> Option<(Arc<str>, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match (bracketed, host.parse::<IpAddr>()) {
        (Some(bare), _) => bare.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
        (None, Ok(IpAddr::V4(ip))) => ip.to_string(),
        (None, Ok(IpAddr::V6(_))) => return None,
        (None, Err(_)) => {
            let name = host.to_ascii_lowercase();
            host::check(&name).ok()?;
            name
        }
    };
    Some((host.into(), port))
}

/// Goes into the service's configuration, and into the names of its counters.
fn domain(field: &Field, sink: &mut Sink) -> Option<Arc<str>> {
    let text = field.text(sink)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    if text.is_empty() || text.len() > MAX_NAME_BYTES || !text.chars().all(allowed) {
        let reason = format!("a domain is 1 to {MAX_NAME_BYTES} letters, digits, \"-\" and \".\"");
        field.report(sink, reason);
        return None;
    }
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_at_a_name_or_an_address_and_a_port() {
        for (text, host) in [
            ("ratelimit:8081", "ratelimit"),
            ("RateLimit.System.svc:8081", "ratelimit.system.svc"),
            ("127.0.0.1:8081", "127.0.0.1"),
            ("[fd00::1]:8081", "fd00::1"),
        ] {
            let (found, port) = parse(text).unwrap();
            assert_eq!((&*found, port), (host, 8081), "{text}");
        }
        for text in [
            "ratelimit",
            "ratelimit:0",
            "ratelimit:http",
            "fd00::1:8081",
            ":8081",
            "a b:1",
            "http://a:1",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

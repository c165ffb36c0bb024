//! `limits` of a policy: how often, and how many at a time.

use std::{num::NonZeroU32, ops::RangeInclusive, sync::Arc, time::Duration};

use super::{
    Asking, Pattern,
    authorization::UNNAMED_LIMIT,
    bounds::{MAX_CLAIM_DEPTH, MAX_KEY_PARTS, MAX_LIMITS, MAX_NAME_BYTES},
    document::Spot,
    engine,
    fields::{Field, Fields, Schema, Sink},
    globs,
    problem::quote,
    rule, timeouts,
};

/// One limit of a policy. Without `rate` and without `concurrency` there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What messages and metrics call it; its number, from 1, where it has none.
    pub name: Option<Arc<str>>,
    /// Methods that it counts, by glob: `tools/call` where nothing else is said.
    pub counts: Vec<Pattern>,
    /// Tools that it counts, by glob; empty: every tool, and all that is no tool.
    pub tools: Vec<Pattern>,
    /// How often.
    pub rate: Option<Rate>,
    /// How many at a time.
    pub concurrency: Option<NonZeroU32>,
    /// Whose budget it is: callers that are equal in all of these share one; empty: all callers do.
    pub key: Vec<KeyPart>,
    /// Whose calls it counts.
    pub scope: Scope,
}

/// Whose calls a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of this node.
    Node,
    /// Those of the whole cluster: those of this node first, and then the rate limit service counts. Such a limit has
    /// a rate, in one of the service's units, and no bound on calls in flight.
    Cluster {
        /// How much in one unit of the service.
        unit: Unit,
        /// Whether a call waits for the service; `None`: as its settings say.
        mode: Option<Asking>,
    },
}

/// The windows that a rate limit service knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day of 24 hours.
    Day,
}

impl Unit {
    const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    /// How long it is.
    pub const fn window(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        })
    }
}

/// So many calls in so much time. In the first window up to `burst + requests` calls pass, on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub requests: NonZeroU32,
    /// In how long.
    pub per: Duration,
    /// How many of them at once; the whole of `requests` where nothing else is said.
    pub burst: NonZeroU32,
}

/// What tells budgets apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// The principal.
    Identity,
    /// The principal's namespace.
    Namespace,
    /// The server.
    Server,
    /// The tool.
    Tool,
    /// A claim of the caller's token, by its path.
    Claim(Vec<Box<str>>),
}

const LIMIT: Schema = Schema {
    known: &[
        "name",
        "counts",
        "tools",
        "requests",
        "per",
        "burst",
        "concurrency",
        "key",
        "scope",
        "mode",
    ],
    later: &[],
};
/// What `per` may be.
const WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(28 * 24 * 3600);
/// What `requests`, `burst` and `concurrency` may be.
const COUNT: RangeInclusive<u64> = 1..=1_000_000;
/// What is counted where `counts` says nothing.
const TOOL_CALLS: &str = "tools/call";

/// Limits, and where that of them stands which only all documents together can show to be good.
#[derive(Default)]
pub(super) struct Parsed {
    pub limits: Vec<Limit>,
    /// Where a scope says that it counts for the whole cluster.
    pub cluster_spot: Option<Spot>,
    /// What of their keys only tokens can tell, and where it stands.
    pub token_spots: Vec<(&'static str, Spot)>,
}

/// The limits at `field`.
pub(super) fn list(field: &Field, sink: &mut Sink) -> Parsed {
    let items = field.list(MAX_LIMITS, "leave limits out to limit nothing", sink);
    let mut parsed = Parsed::default();
    for item in items.unwrap_or_default() {
        let Some(limit) = limit(&item, &mut parsed, sink) else {
            continue;
        };
        match &limit.name {
            Some(name) if parsed.limits.iter().any(|other| other.name.as_ref() == Some(name)) => {
                item.report(sink, format!("there are two limits {}", quote(name)));
            }
            _ => parsed.limits.push(limit),
        }
    }
    parsed
}

/// A limit; its spots join those of `parsed`.
fn limit(field: &Field, parsed: &mut Parsed, sink: &mut Sink) -> Option<Limit> {
    let fields = field.fields(&LIMIT, sink)?;
    let name = match fields.optional("name") {
        Some(field) => Some(name(&field, sink)?),
        None => None,
    };
    let mut counts = globs::list(&fields, "counts", "leave counts out to count tool calls", sink);
    if counts.is_empty() {
        counts.extend(Pattern::new(TOOL_CALLS).ok());
    }
    rule::check_methods(&fields, "counts", &counts, sink);
    let tools = globs::list(&fields, "tools", "leave tools out to count calls of every tool", sink);
    let key = key(&fields, &mut parsed.token_spots, sink);
    // Said outright, so that nobody takes a node's limit for the whole cluster's.
    let scope = fields.required("scope", sink)?;
    let spot = Spot::from(&scope);
    let is_cluster = scope.choice(&[("Node", false), ("Cluster", true)], &[], sink);
    let concurrency = match fields.optional("concurrency") {
        Some(field) => Some(count(&field, sink)?),
        None => None,
    };
    let rate = rate(&fields, concurrency.is_some(), sink)?;
    let scope = match is_cluster? {
        false => of_node(&fields, sink),
        true => of_cluster(&fields, rate.as_ref(), sink),
    };
    let scope = scope?;
    if scope != Scope::Node && parsed.cluster_spot.is_none() {
        parsed.cluster_spot = Some(spot);
    }
    Some(Limit {
        name,
        counts,
        tools,
        rate,
        concurrency,
        key: key?,
        scope,
    })
}

fn of_node(fields: &Fields, sink: &mut Sink) -> Option<Scope> {
    match fields.optional("mode") {
        Some(field) => {
            field.report(
                sink,
                "says how the rate limit service is asked: it goes with scope: Cluster",
            );
            None
        }
        None => Some(Scope::Node),
    }
}

/// What the service can count: calls in one of its windows.
fn of_cluster(fields: &Fields, rate: Option<&Rate>, sink: &mut Sink) -> Option<Scope> {
    let mode = match fields.optional("mode") {
        Some(field) => Some(engine::asking(&field, sink)?),
        None => None,
    };
    if let Some(field) = fields.optional("concurrency") {
        field.report(
            sink,
            "is counted by each node for itself: give it a limit of its own with scope: Node",
        );
        return None;
    }
    let per = rate?.per;
    let unit = Unit::ALL.into_iter().find(|unit| unit.window() == per);
    if let (None, Some(field)) = (unit, fields.optional("per")) {
        field.report(
            sink,
            "is no window of the rate limit service: with scope: Cluster it is 1s, 1m, 1h or 1d",
        );
    }
    Some(Scope::Cluster { unit: unit?, mode })
}

/// `None` if something is wrong with it.
fn rate(fields: &Fields, is_optional: bool, sink: &mut Sink) -> Option<Option<Rate>> {
    match (fields.optional("requests"), fields.optional("per")) {
        (None, None) if is_optional => match fields.has("burst") {
            true => {
                fields.report(sink, "burst goes with requests and per");
                None
            }
            false => Some(None),
        },
        (None, None) => {
            fields.report(sink, "must have requests and per, or concurrency, or all of them");
            None
        }
        (Some(requests), Some(per)) => {
            let (requests, per) = (count(&requests, sink), timeouts::within(&per, WINDOW, sink));
            let burst = match fields.optional("burst") {
                Some(field) => count(&field, sink),
                None => requests,
            };
            Some(Some(Rate {
                requests: requests?,
                per: per?,
                burst: burst?,
            }))
        }
        _ => {
            fields.report(sink, "requests and per go together: {requests: 100, per: 1m}");
            None
        }
    }
}

fn count(field: &Field, sink: &mut Sink) -> Option<NonZeroU32> {
    let number = field.number(COUNT, sink)?;
    u32::try_from(number).ok().and_then(NonZeroU32::new)
}

/// Goes into header fields, between quotes.
fn name(field: &Field, sink: &mut Sink) -> Option<Arc<str>> {
    let text = field.text(sink)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > MAX_NAME_BYTES || !text.chars().all(allowed) {
        let reason = format!("a limit's name is 1 to {MAX_NAME_BYTES} letters, digits, \"-\", \"_\" and \".\"");
        field.report(sink, reason);
        return None;
    }
    let number = text.strip_prefix(UNNAMED_LIMIT).unwrap_or(text);
    if number.bytes().all(|byte| byte.is_ascii_digit()) {
        let reason = format!(
            "{} is what a rule or a limit without a name is called: add a word",
            quote(text)
        );
        field.report(sink, reason);
        return None;
    }
    Some(text.into())
}

fn key(fields: &Fields, told: &mut Vec<(&'static str, Spot)>, sink: &mut Sink) -> Option<Vec<KeyPart>> {
    let Some(field) = fields.optional("key") else {
        return Some(Vec::new());
    };
    let items = field.list(
        MAX_KEY_PARTS,
        "leave key out for one budget that all callers share",
        sink,
    )?;
    let mut parts = Vec::new();
    for item in &items {
        let Some(part) = part(item, sink) else { continue };
        if matches!(part, KeyPart::Claim(_)) {
            told.push(("a claim in a key needs", Spot::from(item)));
        }
        parts.push(part);
    }
    (parts.len() == items.len()).then_some(parts)
}

fn part(field: &Field, sink: &mut Sink) -> Option<KeyPart> {
    let text = field.text(sink)?;
    let part = match text.split_once(':') {
        None => match text {
            "identity" => Some(KeyPart::Identity),
            "namespace" => Some(KeyPart::Namespace),
            "server" => Some(KeyPart::Server),
            "tool" => Some(KeyPart::Tool),
            _ => None,
        },
        Some(("claim", path)) => {
            let path: Vec<Box<str>> = path.split('.').map(Box::from).collect();
            let is_good = path.len() <= MAX_CLAIM_DEPTH && path.iter().all(|name| !name.is_empty());
            is_good.then_some(KeyPart::Claim(path))
        }
        Some(_) => None,
    };
    if part.is_none() {
        let reason = format!(
            "{} is not one of identity, namespace, server, tool, or a claim of the caller's token such as claim:team",
            quote(text)
        );
        field.report(sink, reason);
    }
    part
}

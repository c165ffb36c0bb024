//! The decision about one request, and its record: the same on both paths.

use std::{borrow::Cow, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::value::RawValue;

use super::{
    Shared,
    exchange::Body,
    limit::{self, Spending, Unanswered, spend},
    outside::{self, Outside},
    refused::{Refused, json},
};
use crate::{
    discovery::{Catalogue, Item},
    identity::Caller,
    mcp::{
        annotations::Annotations,
        error::{self, DenialData, code},
        governed::{Governed, Kind},
        part::Part,
        version::Era,
    },
    pins,
    policy::{Ask, Because, Decision, Plan, Server, limits::Limited},
    resources::{DenialStatus, ObjectName, Pin},
    telemetry::{CallStart, Carried, DecidedBy, Keeping, Path, Payload, Record, Telemetry, Verdict},
};

/// The rule that is named where a catalog leaves a tool out.
const LEFT_OUT: &str = "catalog";
/// The rule that is named where a policy engine denies.
const EXT_AUTHZ: &str = "extAuthz";

/// A request that is to be decided.
pub(super) struct Asked<'a> {
    pub(super) caller: &'a Arc<Caller>,
    pub(super) path: Path,
    pub(super) server: &'a Server,
    /// The catalog that it is asked through.
    pub(super) catalog: Option<&'a str>,
    /// What the server offers to this caller, where that is its own.
    pub(super) personal: Option<&'a Catalogue>,
    /// With the server's own name for what it is about.
    pub(super) governed: Governed<'a>,
    /// What the client called that.
    pub(super) called_as: &'a str,
    pub(super) arguments: Option<Part<'a>>,
    pub(super) era: Era,
    pub(super) id: Option<&'a RawValue>,
    /// When the request's head was complete.
    pub(super) received: Instant,
    /// When its body was.
    pub(super) read: Instant,
    pub(super) request_bytes: usize,
    /// The path of its HTTP request, without the query.
    pub(super) http_path: &'a str,
    /// A catalog hides it, whatever the rules say.
    pub(super) left_out: bool,
    /// It has a line of its own in the audit log.
    pub(super) on_record: bool,
    /// Which HTTP status a denial gets.
    pub(super) denial_status: DenialStatus,
    /// What may say which trace it is part of.
    pub(super) carried: Carried<'a>,
    /// How its line is kept.
    pub(super) keeping: Keeping,
}

/// What a request gets.
#[allow(
    clippy::large_enum_variant,
    reason = "made once for each request, and nearly all are allowed"
)]
pub(super) enum Decided {
    /// It goes to the server.
    Allowed(Record),
    /// The client is told that there is no such thing, or not with these arguments.
    Denied(Response<Body>),
}

/// Decides a request, opens its record, and answers it where it is denied.
pub(super) async fn decide(shared: &Shared, plan: &Plan, asked: &Asked<'_>) -> Decided {
    let telemetry = &shared.telemetry;
    let (mut verdict, mut rule, mut because) = judge(shared, plan, asked);
    // A limit that refuses, or that nobody could count.
    let mut limited: Option<Option<Limited>> = None;
    let mut spent = None;
    let mut engine = None;
    let mut unanswered = false;
    let engine_wanted = plan.settings.ext_authz.as_ref().filter(|_| verdict != Verdict::Deny);
    let over = match engine_wanted.is_some() && asked.server.is_limited() {
        true => limit::over(shared, asked),
        false => None,
    };
    if let Some(wanted) = engine_wanted.filter(|_| over.is_none()) {
        // Rare, and larger than all the rest of a request's state.
        match Box::pin(outside::allows(shared, wanted, asked)).await {
            Outside::Allows => {}
            Outside::Unheard(error) => engine = Some(DecidedBy::EXT_AUTHZ.failing(&error)),
            Outside::Denies(why) => {
                (verdict, rule, because) = (denied(asked.caller), Some(EXT_AUTHZ.into()), why);
                engine = Some(DecidedBy::EXT_AUTHZ);
            }
            Outside::Silent(error) => {
                engine = Some(DecidedBy::EXT_AUTHZ.failing(&error));
                (verdict, rule) = (denied(asked.caller), Some(EXT_AUTHZ.into()));
                unanswered = verdict == Verdict::Deny;
            }
        }
    }
    if verdict != Verdict::Deny && asked.server.is_limited() {
        let (spending, unheard) = match over {
            Some(over) => (over, None),
            None => spend(shared, plan, asked).await,
        };
        if let Some(error) = unheard {
            engine.get_or_insert(DecidedBy::RATE_LIMIT_SERVICE.failing(&error));
        }
        match spending {
            Spending::Spent(taken) => spent = Some(taken),
            Spending::Tried(taken, limit) => {
                spent = Some(taken);
                (verdict, rule) = (Verdict::WouldDeny, Some(limit));
            }
            Spending::Refused(refused) => {
                (verdict, rule) = (Verdict::Limit, Some(Arc::clone(&refused.limit)));
                engine = refused.by_service.then_some(DecidedBy::RATE_LIMIT_SERVICE);
                limited = Some(Some(refused));
            }
            Spending::Unanswered(limit, error) => {
                (verdict, rule) = (Verdict::Limit, Some(limit));
                engine = Some(DecidedBy::RATE_LIMIT_SERVICE.failing(&error));
                limited = Some(None);
            }
        }
    }
    let mut record = telemetry.call(CallStart {
        caller: Arc::clone(asked.caller),
        path: asked.path,
        server: Some(asked.server.name()),
        catalog: asked.catalog,
        method: asked.governed.method,
        kind: asked.governed.kind,
        name: asked.governed.name,
        called_as: asked.called_as,
        tool_is_named: asked.governed.kind == Kind::Tool && asked.server.names_tool(asked.governed.name),
        request_id: asked.id,
        received: asked.received,
        read: asked.read,
        request_bytes: asked.request_bytes as u64,
        verdict,
        rule,
        reason: None,
        engine,
        spent,
        carried: asked.carried,
        // Here, and not where the line is written: that would keep the bodies of all calls that wait there.
        arguments_hash: asked
            .arguments
            .filter(|_| asked.on_record)
            .map(|arguments| shared.gateway.sealer.fingerprint(arguments.get().as_bytes())),
        payload: asked.on_record.then(|| payload(asked)).flatten(),
        client: None,
        keeping: asked.keeping,
    });
    if !asked.on_record {
        record.off_record();
    }
    match limited {
        Some(Some(limited)) => return Decided::Denied(limit::refusal(&limited, asked, &mut record)),
        Some(None) => return Decided::Denied(limit::unanswered(Unanswered::Limit, asked, &mut record)),
        None => {}
    }
    if verdict != Verdict::Deny {
        return Decided::Allowed(record);
    }
    if unanswered {
        return Decided::Denied(limit::unanswered(Unanswered::Policy, asked, &mut record));
    }
    let (status, code, reason, message) = match because {
        Because::Arguments => (
            forbidden(asked.denial_status),
            code::ARGUMENTS_DENIED,
            "arguments",
            "These arguments are not allowed".into(),
        ),
        Because::NotApproved => (
            forbidden(asked.denial_status),
            code::NOT_APPROVED,
            "not_approved",
            "The definition of this tool is not approved".into(),
        ),
        Because::Hidden => {
            let (status, code, message) = absent(asked.governed, asked.called_as, asked.era, asked.denial_status);
            (status, code, DENIED, message)
        }
    };
    let data = DenialData {
        decision_id: record.decision_id(),
        reason,
        retry_after_ms: None,
    };
    let answer: Bytes = error::body(asked.id, code, &message, Some(&data));
    record.status(status.as_u16());
    record.error_code(code);
    record.add_response_bytes(answer.len() as u64);
    Decided::Denied(json(status, answer))
}

/// The refusal of what no server is known to have: the answer is that to a request that is denied, so that a caller
/// cannot tell what exists from what does not. The audit log can. The request is recorded with it.
pub(super) fn unknown(
    telemetry: &Arc<Telemetry>,
    governed: Governed<'_>,
    era: Era,
    denial_status: DenialStatus,
    start: CallStart<'_>,
) -> Refused {
    let (status, code, message) = absent(governed, governed.name, era, denial_status);
    let reason = match governed.kind {
        Kind::Tool => "unknown_tool",
        Kind::Other => "unknown_method",
        Kind::Prompt | Kind::Resource | Kind::Task => "unknown_name",
    };
    let id = start.request_id;
    let mut record = telemetry.call(CallStart {
        kind: governed.kind,
        name: governed.name,
        called_as: governed.name,
        verdict: Verdict::Deny,
        reason: Some(reason),
        ..start
    });
    let data = DenialData {
        decision_id: record.decision_id(),
        reason: DENIED,
        retry_after_ms: None,
    };
    let data = serde_json::value::to_raw_value(&data).ok();
    record.status(status.as_u16());
    record.error_code(code);
    record.add_response_bytes(error::body(id, code, &message, data.as_ref()).len() as u64);
    Refused::protocol(status, code, reason, message).recorded(data).to(id)
}

/// The refusal of a request that could be for a server which wants to know more of its callers than this one shows. It
/// is recorded with what it asked for, by the server's own name for that, whether there is any such or not.
pub(super) fn barred(
    telemetry: &Arc<Telemetry>,
    governed: Governed<'_>,
    server: &Server,
    refused: Refused,
    start: CallStart<'_>,
) -> Refused {
    let own = match governed.kind {
        Kind::Tool | Kind::Prompt => governed.name.strip_prefix(&*server.wanted.prefix),
        Kind::Resource | Kind::Task | Kind::Other => None,
    };
    let id = start.request_id;
    let record = telemetry.call(CallStart {
        server: Some(server.name()),
        kind: governed.kind,
        name: own.unwrap_or(governed.name),
        called_as: governed.name,
        verdict: Verdict::Deny,
        reason: Some(refused.reason),
        ..start
    });
    refused.to(id).of(record)
}

/// The refusal of what could be this server's, of which it is not known now what it offers: of what is asked for nobody can
/// tell whose it is. The request is recorded with it.
pub(super) fn undecided(
    telemetry: &Arc<Telemetry>,
    governed: Governed<'_>,
    server: &ObjectName,
    start: CallStart<'_>,
) -> Refused {
    let id = start.request_id;
    let reason = "unknown_owner";
    let record = telemetry.call(CallStart {
        kind: governed.kind,
        name: governed.name,
        called_as: governed.name,
        verdict: Verdict::Deny,
        reason: Some(reason),
        ..start
    });
    let message = format!("It is not known now whether MCP server {server} has this resource; try again later");
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, reason, message)
        .to(id)
        .of(record)
}

/// What the audit log has of the arguments: nothing, and at no cost, unless settings or a policy ask for it.
fn payload(asked: &Asked<'_>) -> Option<Payload> {
    Payload::of(asked.arguments, asked.server.payloads.as_ref()?)
}

/// The word for a denial that says no more.
const DENIED: &str = "denied";

/// What a denial is for this caller.
pub(super) fn denied(caller: &Caller) -> Verdict {
    match caller.observed {
        true => Verdict::WouldDeny,
        false => Verdict::Deny,
    }
}

fn judge(shared: &Shared, plan: &Plan, asked: &Asked<'_>) -> (Verdict, Option<Arc<str>>, Because) {
    let denied = denied(asked.caller);
    if asked.left_out {
        return (denied, Some(LEFT_OUT.into()), Because::Hidden);
    }
    let (kind, name) = (asked.governed.kind, asked.governed.name);
    let annotations = annotations(shared, asked.server, asked.personal, kind, name);
    let ask = Ask::new(asked.caller, asked.governed, annotations, asked.arguments);
    let judgement = plan.decide(asked.server, &ask);
    for (rule, failure) in &judgement.failures {
        shared.telemetry.rule_failed(rule);
        tracing::debug!(rule = &**rule, %failure, "the condition of a rule cannot be evaluated");
    }
    let pinned = match judgement.decision {
        Decision::Allow { .. } => drifted(shared, asked),
        Decision::Deny { .. } => Pin::Off,
    };
    match (judgement.decision, judgement.would_deny) {
        (Decision::Deny { rule, because }, _) => (denied, Some(rule), because),
        // Whoever may not have the tool at all does not hear of this.
        _ if pinned == Pin::Enforce => (denied, Some(pins::RULE.into()), Because::NotApproved),
        (Decision::Allow { .. }, None) if pinned == Pin::Warn => {
            (Verdict::WouldDeny, Some(pins::RULE.into()), Because::Hidden)
        }
        (Decision::Allow { .. }, Some(rule)) => (Verdict::WouldDeny, Some(rule), Because::Hidden),
        (Decision::Allow { rule }, None) => (Verdict::Allow, rule, Because::Hidden),
    }
}

/// What becomes of a call because the tool is not what was approved, as its server was last seen, and as this caller
/// sees it; `Off`: nothing.
fn drifted(shared: &Shared, asked: &Asked<'_>) -> Pin {
    let (server, governed) = (asked.server, asked.governed);
    let pin = server.wanted.pin;
    let concerned = pin != Pin::Off && governed.kind == Kind::Tool;
    let as_shown = || match asked.personal {
        Some(own) => {
            let pins = shared.pins.table();
            let shown = own.tool(governed.name);
            shown.is_some_and(|item| pins.approves_as(server.name(), governed.name, &item.json))
        }
        None => true,
    };
    match concerned && !(shared.pins.approves(server.name(), governed.name) && as_shown()) {
        true => pin,
        false => Pin::Off,
    }
}

/// What a server says of a tool, in the catalogue and nowhere else, where rules look at it: in the caller's own
/// catalogue, where it has one.
pub(super) fn annotations(
    shared: &Shared,
    server: &Server,
    personal: Option<&Catalogue>,
    kind: Kind,
    name: &str,
) -> Annotations {
    if kind != Kind::Tool || !server.reads_annotations() {
        return Annotations::default();
    }
    match personal {
        Some(own) => own.tool(name).map_or_else(Annotations::default, Item::annotations),
        None => shared.discovery.annotations(server.name(), name),
    }
}

/// The HTTP status of a denial.
fn forbidden(denial_status: DenialStatus) -> StatusCode {
    match denial_status {
        DenialStatus::Ok => StatusCode::OK,
        DenialStatus::Http => StatusCode::FORBIDDEN,
    }
}

/// How it is said that there is no such thing.
fn absent(
    governed: Governed<'_>,
    called: &str,
    era: Era,
    denial_status: DenialStatus,
) -> (StatusCode, i64, Cow<'static, str>) {
    let denied = forbidden(denial_status);
    let invalid = |message: String| (denied, code::INVALID_PARAMS, message.into());
    match (governed.kind, governed.method) {
        (Kind::Prompt | Kind::Resource, "completion/complete") => {
            invalid("Unknown prompt or resource template".to_owned())
        }
        (Kind::Tool, _) => invalid(format!("Unknown tool: {called}")),
        (Kind::Prompt, _) => invalid(format!("Unknown prompt: {called}")),
        (Kind::Task, _) => invalid(format!("Unknown task: {called}")),
        (Kind::Resource, _) => {
            let code = match era {
                Era::Legacy => code::RESOURCE_NOT_FOUND,
                Era::Modern => code::INVALID_PARAMS,
            };
            (denied, code, format!("Resource not found: {called}").into())
        }
        (Kind::Other, method) => {
            let status = match era {
                Era::Legacy => denied,
                // The status that the revision itself has for it.
                Era::Modern => StatusCode::NOT_FOUND,
            };
            let message = format!("Method not found: {method}");
            (status, code::METHOD_NOT_FOUND, message.into())
        }
    }
}

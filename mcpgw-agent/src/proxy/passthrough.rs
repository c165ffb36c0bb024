//! TLS that goes on unread: who may connect at all is all that is decided.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Instant, SystemTime},
};

use http::{HeaderMap, Version};
use tokio::{
    io::copy_bidirectional,
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::io::InspectReader;

use super::Shared;
use crate::{
    identity::Caller,
    mcp::{governed::Kind, params::Meta},
    policy::{Decision, Plan, Server},
    resources::{ObjectName, Timeouts},
    telemetry::{CallStart, Carried, Outcome, Path, Record, Refusal, Verdict, Who},
};

/// What stands in place of a method in the record of a connection.
const METHOD: &str = "tls/passthrough";

/// Passes a connection on that is meant for a server, if its caller may do whatever can be asked of it. What goes on
/// unread can be for any server at its address: so the caller may do all that can be asked of each.
pub(super) async fn serve(
    stream: TcpStream,
    server: &Arc<Server>,
    plan: &Plan,
    caller: &Arc<Caller>,
    shared: &Arc<Shared>,
) {
    let there = plan.at(caller.destination);
    let needs_token = there
        .iter()
        .any(|server| server.admission.redirected().mode.needs_token());
    if needs_token {
        // It cannot be seen whether the caller has one.
        return shared.telemetry.refused(Refusal {
            time: SystemTime::now(),
            reason: "tls_needs_token",
            status: None,
            path: Path::Redirected,
            decision_id: None,
            who: Who::Caller(Arc::clone(caller)),
        });
    }
    let denied = there
        .iter()
        .find_map(|other| match plan.decide_connection(other, caller) {
            Decision::Allow { .. } => None,
            Decision::Deny { rule, .. } => Some((other, rule)),
        });
    let (server, verdict, rule) = match (denied, plan.decide_connection(server, caller)) {
        (Some((other, rule)), _) => (other, Verdict::Deny, Some(rule)),
        (None, Decision::Allow { rule }) => (server, Verdict::Allow, rule),
        (None, Decision::Deny { rule, .. }) => (server, Verdict::Deny, Some(rule)),
    };
    let record = record(shared, caller, server.name(), "", verdict, rule);
    if verdict != Verdict::Deny {
        splice(stream, record, server.wanted.timeouts, caller.destination).await;
    }
}

/// The record of a connection whose caller is only observed: with what would be decided.
pub(super) fn observed(server: &Arc<Server>, plan: &Plan, caller: &Arc<Caller>, shared: &Arc<Shared>) -> Record {
    let (verdict, rule) = match plan.decide_connection(server, caller) {
        Decision::Allow { rule } => (Verdict::Allow, rule),
        Decision::Deny { rule, .. } => (Verdict::WouldDeny, Some(rule)),
    };
    let mut record = record(shared, caller, server.name(), "", verdict, rule);
    record.sent_to(caller.destination);
    record.leaving();
    record
}

/// Passes a connection on that asks, at an address of a server's host, for another name than that.
pub(super) async fn elsewhere(
    stream: TcpStream,
    server: &Arc<Server>,
    name: &str,
    caller: &Arc<Caller>,
    shared: &Arc<Shared>,
) {
    let record = record(shared, caller, server.name(), name, Verdict::Allow, None);
    splice(stream, record, server.wanted.timeouts, caller.destination).await;
}

fn record(
    shared: &Arc<Shared>,
    caller: &Arc<Caller>,
    server: &ObjectName,
    name: &str,
    verdict: Verdict,
    rule: Option<Arc<str>>,
) -> Record {
    let now = Instant::now();
    shared.telemetry.call(CallStart {
        caller: Arc::clone(caller),
        path: Path::Redirected,
        server,
        method: METHOD,
        kind: Kind::Other,
        name,
        called_as: name,
        tool_is_named: false,
        request_id: None,
        received: now,
        read: now,
        request_bytes: 0,
        verdict,
        rule,
        engine: None,
        spent: None,
        payload: None,
        carried: Carried {
            headers: &HeaderMap::new(),
            version: Version::HTTP_11,
            meta: &Meta::default(),
        },
    })
}

/// Passes bytes on, both ways, until both sides have ended or nothing has come for the server's idle time.
async fn splice(mut stream: TcpStream, mut record: Record, timeouts: Timeouts, server: SocketAddr) {
    record.sent_to(server);
    record.leaving();
    let Ok(Ok(mut upstream)) = timeout(timeouts.connect, connect(server)).await else {
        return record.outcome(Outcome::Error, None);
    };
    let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
    let count = |counter: &AtomicU64, bytes: &[u8]| {
        counter.fetch_add(bytes.len() as u64, Relaxed);
    };
    let mut client = InspectReader::new(&mut stream, |bytes: &[u8]| count(&sent, bytes));
    let mut server = InspectReader::new(&mut upstream, |bytes: &[u8]| count(&received, bytes));
    let mut copy = pin!(copy_bidirectional(&mut client, &mut server));
    let so_far = || sent.load(Relaxed) + received.load(Relaxed);
    let mut before = 0;
    let outcome = loop {
        tokio::select! {
            copied = &mut copy => break copied.map_or(Outcome::Error, |_| Outcome::Ok),
            () = sleep(timeouts.idle) => match so_far() {
                same if same == before => break Outcome::Error,
                more => before = more,
            },
        }
    };
    record.outcome(outcome, None);
    record.add_request_bytes(sent.load(Relaxed));
    record.add_response_bytes(received.load(Relaxed));
}

async fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

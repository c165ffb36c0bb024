//! TLS that goes on unread: who may connect at all is all that is decided.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use http::{HeaderMap, Version};
use tokio::{
    io::copy_bidirectional,
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::io::InspectReader;

use super::{
    Shared, call,
    lease::{Lease, Terms},
    secured::{Secured, secured},
};
use crate::{
    identity::Caller,
    mcp::params::Meta,
    policy::{Decision, Plan, Server},
    resources::{ObjectName, Timeouts},
    telemetry::{CallStart, Carried, Keeping, Outcome, Path, Record, Verdict},
};

/// What stands in place of a method in the record of a connection.
const METHOD: &str = "tls/passthrough";

/// Decides about a connection that is meant for a server, and opens its record. What goes on unread can be for any
/// server at its address: so the caller may do all that can be asked of each. `None`: it is refused, and that is
/// recorded.
pub(super) fn meant(server: &Server, plan: &Plan, caller: &Arc<Caller>, shared: &Shared) -> Option<Record> {
    let there = plan.at(caller.destination);
    if let Some(reason) = must_be_seen(there, plan) {
        match caller.observed {
            true => shared.telemetry.would_refuse(reason, caller, Path::Redirected),
            false => shared.refuse(reason, caller),
        }
        return None;
    }
    let denied = there
        .iter()
        .find_map(|other| match plan.decide_connection(other, caller) {
            Decision::Allow { .. } => None,
            Decision::Deny { rule, .. } => Some((&**other, rule)),
        });
    let (server, verdict, rule) = match (denied, plan.decide_connection(server, caller)) {
        (Some((other, rule)), _) => (other, call::denied(caller), Some(rule)),
        (None, Decision::Deny { rule, .. }) => (server, call::denied(caller), Some(rule)),
        (None, Decision::Allow { rule }) => (server, Verdict::Allow, rule),
    };
    let record = record(shared, plan, caller, server.name(), "", verdict, rule);
    (verdict != Verdict::Deny).then_some(record)
}

/// A connection that goes on unread, to be decided again: it outlives the plan by which it was let go on.
pub(super) struct Unread {
    /// Whose it is.
    pub(super) caller: Arc<Caller>,
    /// The name that the client asked for, where that was looked at.
    pub(super) name: Option<String>,
}

impl Terms for Unread {
    async fn again(&mut self, plan: &Arc<Plan>) -> Result<Arc<Caller>, &'static str> {
        let Self { caller, name } = self;
        let there = plan.at(caller.destination);
        match secured(there, name.as_deref()) {
            Secured::Elsewhere(..) => Ok(Arc::clone(caller)),
            Secured::Here(..) => Err("tls"),
            Secured::Refused(reason) => Err(reason),
            Secured::Through(_) if caller.observed => Ok(Arc::clone(caller)),
            Secured::Through(_) => {
                let is_denied =
                    |server: &Arc<Server>| matches!(plan.decide_connection(server, caller), Decision::Deny { .. });
                match must_be_seen(there, plan) {
                    Some(reason) => Err(reason),
                    None if there.iter().any(is_denied) => Err("denied"),
                    None => Ok(Arc::clone(caller)),
                }
            }
        }
    }

    /// What its caller shows is for the server, and not to be seen.
    fn headers(&self) -> Option<&HeaderMap> {
        None
    }
}

/// Why what is for these servers cannot go on unread: something decides about it that takes more than knowing who
/// connects. It is the caller that has chosen TLS, so that an engine which may fail open is not passed by either.
fn must_be_seen(there: &[Arc<Server>], plan: &Plan) -> Option<&'static str> {
    let any = |needs: fn(&Server) -> bool| there.iter().any(|server| needs(server));
    // It cannot be seen whether the caller has one.
    if any(|server| server.admission.redirected().mode.needs_token()) {
        return Some("tls_needs_token");
    }
    // Nor how many calls are in it.
    if any(Server::holds_to_limits) {
        return Some("tls_limited");
    }
    plan.settings.ext_authz.is_some().then_some("tls_needs_engine")
}

/// Opens the record of a connection that asks, at an address of a server's host, for another name than that.
pub(super) fn elsewhere(server: &Server, name: &str, plan: &Plan, caller: &Arc<Caller>, shared: &Shared) -> Record {
    record(shared, plan, caller, server.name(), name, Verdict::Allow, None)
}

fn record(
    shared: &Shared,
    plan: &Plan,
    caller: &Arc<Caller>,
    server: &ObjectName,
    name: &str,
    verdict: Verdict,
    rule: Option<Arc<str>>,
) -> Record {
    let (headers, meta) = (HeaderMap::new(), Meta::default());
    let carried = Carried {
        headers: &headers,
        version: Version::HTTP_11,
        meta: &meta,
    };
    shared.telemetry.call(CallStart {
        server: Some(server),
        name,
        called_as: name,
        verdict,
        rule,
        ..CallStart::new(
            Arc::clone(caller),
            Path::Redirected,
            METHOD,
            Instant::now(),
            carried,
            Keeping::by(&plan.settings.audit),
        )
    })
}

/// Passes a connection's bytes on, both ways, until both sides have ended, nothing has come for the server's idle time,
/// or a plan comes into force that would refuse it.
pub(super) async fn serve(
    mut stream: TcpStream,
    mut record: Record,
    timeouts: Timeouts,
    address: SocketAddr,
    mut lease: Lease,
) {
    record.sent_to(address);
    record.leaving();
    let Ok(Ok(mut upstream)) = timeout(timeouts.connect, connect(address)).await else {
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
            _ = poll_fn(|context| lease.poll_over(context)) => break Outcome::Denied,
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

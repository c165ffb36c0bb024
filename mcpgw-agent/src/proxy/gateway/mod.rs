//! The gateway: many servers behind one `/mcp`, and a choice of them behind each `/mcp/<catalog>`.
//!
//! ```text
//! view       what one kind of caller sees: servers, names, lists ready to be sent
//! list       one of its lists
//! kind       the kinds of lists
//! owner      whose a URI is
//! template   which URIs a resource template stands for
//! uris       URIs that two servers have
//! reach      whether a caller sees a server, by the plan alone
//! views      views, made once for each kind of caller
//! personal   servers that offer something else to each principal
//!
//! entry      what comes to the gateway: what is at its path, and whether its caller may ask for it
//! call       one request, with all that is known of it
//! batch      several requests in one body
//! arrived    what arrives with a request
//! request    one request: which era, which session, on to its method
//! told       levels, notifications and answers on their way from the client to its servers
//! introduce  initialize and server/discover
//! lists      answers tools/list and its kin
//! tasks      ids of tasks, sealed; tasks/list
//!
//! forward    a request on its way to its server, in the server's era
//! legacy     … to a server that knows sessions
//! decline    what servers ask where no client can be asked
//! changes    what changes in such a server's messages on their way to the client
//! modern     … to a server that knows none
//! errors     error codes, from one era to the other
//! interact   a legacy client asks a modern server
//! asked      … by a request that may have to be sent again
//! converse   … which may want to know something in between
//! collect    waits for the one answer to a request
//!
//! session    what is open at servers on behalf of one client
//! sessions   all of them: which one a request names, or shares
//! calls      calls that wait for their answers, and how each is taken back
//! place      where the session at one server is, or will be
//! link       one session at one server
//!
//! hear       what a server says unasked in a session
//! aside      … and what it says while it answers the gateway
//! hearing    what clients may hear, as things are now
//! stream     event streams that are written here
//! resumption streams that end before the answer, for their client to resume them
//! standing   a stream, decided again as the request that opened it
//! listen     what clients hear unasked
//! tell       which of a client's lists changed
//! listens    … of modern servers, for legacy clients
//! shares     … of servers with sessions, for modern clients
//! updates    updates of resources, heard at a server and passed on
//!
//! answer     writes the gateway's own answers
//! limits     every bound of the gateway, by name
//! ```

mod answer;
mod arrived;
mod aside;
mod asked;
mod batch;
mod call;
mod calls;
mod changes;
mod collect;
mod converse;
mod decline;
mod entry;
mod errors;
mod forward;
mod hear;
mod hearing;
mod interact;
mod introduce;
mod kind;
mod legacy;
pub(super) mod limits;
mod link;
mod list;
mod listen;
mod listens;
mod lists;
mod modern;
mod owner;
mod personal;
mod place;
mod reach;
mod request;
mod resumption;
mod session;
mod sessions;
mod shares;
mod standing;
mod stream;
mod tasks;
mod tell;
mod template;
mod told;
mod updates;
mod uris;
mod view;
mod views;

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::value::RawValue;

pub(super) use answer::end_of_listening;
pub(super) use entry::serve;
pub(super) use forward::unreachable;
pub(super) use stream::EventBody;

use crate::{
    mcp::{
        AnswerObserver,
        seal::{GatewaySession, Memo, Sealer},
    },
    shares::Payer,
    telemetry::Record,
};
use call::Call;
use sessions::{Ended, Sessions};
use tasks::TaskOwners;
use views::Views;

/// What the gateway keeps between requests.
pub(super) struct Gateway {
    pub(super) sealer: Sealer,
    opened: Memo<GatewaySession>,
    sessions: Sessions,
    ended: Ended,
    tasks: Arc<TaskOwners>,
    views: Views,
}

impl Gateway {
    pub(super) fn new(sealer: Sealer) -> Self {
        Self {
            sealer,
            opened: Memo::default(),
            sessions: Sessions::default(),
            ended: Ended::default(),
            tasks: Arc::default(),
            views: Views::default(),
        }
    }

    /// The room for what is subscribed to, on whichever path.
    pub(super) fn subscribed(&self) -> &crate::shares::Shares {
        &self.sessions.rooms.subscribed
    }

    /// Forgets what was not used for long.
    pub(super) fn sweep(&self) {
        self.sessions.sweep();
    }
}

/// Closes the record of a call whose answer is held whole.
fn settle(record: &mut Record, id: &RawValue, status: StatusCode, body: &Bytes) {
    // It is whole: nothing is gathered.
    let mut observer = AnswerObserver::of_json(Some(id), Payer::Agent);
    observer.feed(body);
    record.status(status.as_u16());
    record.add_response_bytes(body.len() as u64);
    super::relay::settle(record, status, observer.finish());
}

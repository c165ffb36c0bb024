//! One server: which of its endpoints a call goes to, and the request that goes there.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::Full;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    body::UpstreamBody,
    credential::{Behalf, OwnCredentials, Shown},
    endpoint::{Endpoint, EndpointStatus},
    error::UpstreamError,
    hop,
    http_sse::Sessions,
    limits::MAX_ENDPOINTS_TRIED,
    pool::Speech,
    secure::Secure,
};
use crate::{
    resources::{Backend, HostAddresses, ObjectName, Server, Transport},
    shares::Payer,
};

/// A server as one set of resources has it, and the connections to it.
pub struct Upstream {
    server: Arc<Server>,
    /// The same, as the newest set of resources has it.
    newest: ArcSwap<Server>,
    endpoints: ArcSwap<Vec<Endpoint>>,
    /// Where the search for the least loaded endpoint begins, so that equals take turns.
    turn: AtomicUsize,
    /// What it is shown in place of what callers show.
    shown: Option<Arc<Shown>>,
    /// Its sessions, where it has the HTTP+SSE transport.
    sessions: Arc<Sessions>,
    /// Cancelled when it is no longer in force.
    left: CancellationToken,
}

/// What is known of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Its name.
    pub server: ObjectName,
    /// Its endpoints.
    pub endpoints: Vec<EndpointStatus>,
}

impl Upstream {
    /// Keeps the endpoints of `before` that are still right.
    pub(super) fn new(server: &Arc<Server>, before: Option<&Self>, hosts: &HostAddresses, runtime: &Handle) -> Self {
        let shown = server.credential.as_ref().map(|credential| {
            let same = before.filter(|before| before.server.credential.as_ref() == Some(credential));
            let kept = same.and_then(|before| before.shown.clone());
            kept.unwrap_or_else(|| Arc::new(Shown::new(credential, runtime)))
        });
        let before = before.filter(|before| before.speaks_like(server));
        let endpoint = |address: &SocketAddr| {
            let kept = before.and_then(|before| before.endpoint(*address).ok());
            kept.unwrap_or_else(|| new_endpoint(server, *address, runtime))
        };
        let same_stream =
            |before: &&Self| before.server.transport == server.transport && before.server.path == server.path;
        let sessions = before.filter(same_stream).map(|before| Arc::clone(&before.sessions));
        Self {
            sessions: sessions.unwrap_or_default(),
            server: Arc::clone(server),
            newest: ArcSwap::new(Arc::clone(server)),
            endpoints: ArcSwap::from_pointee(server.is_at(hosts).iter().map(endpoint).collect()),
            turn: AtomicUsize::new(0),
            shown,
            left: CancellationToken::new(),
        }
    }

    /// What it is.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Whether it is what this document says, word for word.
    pub(super) fn is(&self, server: &Arc<Server>) -> bool {
        Arc::ptr_eq(&self.newest.load(), server) || self.server == *server
    }

    /// Takes over the same document, read anew.
    pub(super) fn is_still(&self, server: &Arc<Server>) {
        self.newest.store(Arc::clone(server));
    }

    /// Takes over where its host is now. Connections to addresses that it still has stay.
    pub(super) fn is_at(&self, addresses: &[SocketAddr], runtime: &Handle) {
        let before = self.endpoints.load_full();
        let endpoint = |address: &SocketAddr| {
            let kept = before.iter().find(|endpoint| endpoint.address() == *address).cloned();
            kept.unwrap_or_else(|| new_endpoint(&self.server, *address, runtime))
        };
        self.endpoints.store(Arc::new(addresses.iter().map(endpoint).collect()));
        for endpoint in before
            .iter()
            .filter(|endpoint| !addresses.contains(&endpoint.address()))
        {
            endpoint.leave();
        }
    }

    /// The least loaded endpoint of those that can be reached and answer this payer, as far as is known; where none
    /// does, the one that is to be tried next.
    pub fn pick(&self, payer: Payer) -> Result<Endpoint, UpstreamError> {
        let endpoints = self.endpoints.load();
        let (behind, first) = endpoints.split_at(self.turn.fetch_add(1, Relaxed) % endpoints.len().max(1));
        first
            .iter()
            .chain(behind)
            .min_by_key(|endpoint| (endpoint.health().ejected_for(payer), endpoint.in_flight()))
            .cloned()
            .inspect(|endpoint| endpoint.health().picked(payer))
            .ok_or(UpstreamError::NoAddress)
    }

    /// The endpoint with this address; an IPv4-mapped address is its IPv4 address.
    pub fn endpoint(&self, address: SocketAddr) -> Result<Endpoint, UpstreamError> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let endpoints = self.endpoints.load();
        let found = endpoints.iter().find(|endpoint| endpoint.address() == address);
        found.cloned().ok_or(UpstreamError::Gone)
    }

    /// The endpoint for a caller that dialled this address: the one there, or, where a host has moved on since DNS
    /// gave that address for it, one where it is now.
    pub fn dialled(&self, address: SocketAddr, payer: Payer) -> Result<Endpoint, UpstreamError> {
        match (self.endpoint(address), &self.server.backend) {
            (Err(UpstreamError::Gone), Backend::Host { .. }) => self.pick(payer),
            (found, _) => found,
        }
    }

    /// Sends a request of the Streamable HTTP transport, whichever transport the server has, and waits for the head of
    /// its answer. `payer` says whose share of the endpoint's room it takes, until the body of the answer is dropped.
    pub async fn ask(
        &self,
        endpoint: &Endpoint,
        payer: Payer,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        match self.server.transport {
            Transport::StreamableHttp => self.send(endpoint, payer, request).await,
            Transport::Sse => Box::pin(self.sessions.serve(self, endpoint, payer, request)).await,
        }
    }

    /// As [`Self::ask`], at any endpoint: at the next one where nothing was sent because the one before could not be
    /// reached. `to` hears of each before anything goes there; `make` makes the request.
    pub async fn ask_any(
        &self,
        payer: Payer,
        make: impl Fn() -> Request<Full<Bytes>>,
        mut to: impl FnMut(&Endpoint),
    ) -> Result<(Endpoint, Response<UpstreamBody>), UpstreamError> {
        let mut tried: Vec<Endpoint> = Vec::new();
        loop {
            let endpoint = self.pick(payer)?;
            to(&endpoint);
            match self.ask(&endpoint, payer, make()).await {
                Ok(answer) => return Ok((endpoint, answer)),
                Err(error) if !error.is_of_the_way() || tried.len() + 1 >= MAX_ENDPOINTS_TRIED => return Err(error),
                Err(error) => {
                    tried.push(endpoint);
                    // Left alone now, it is picked again only where all others are too.
                    let others = self.endpoints.load();
                    let is_new = |other: &Endpoint| !tried.iter().any(|endpoint| endpoint.is(other));
                    if !others
                        .iter()
                        .any(|other| other.health().ejected_for(payer) == 0 && is_new(other))
                    {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Sends a request as it is and waits for the head of its answer. Dropping the future abandons the request.
    ///
    /// Of the URI only path and query count: scheme and authority are the endpoint's. A `Host` header stays;
    /// where there is none, the server's own name is sent. Headers that end at a connection are removed. A server with
    /// a credential is shown that and none of the caller's, unless the request's extensions have [`OwnCredentials`];
    /// on whose [`Behalf`] it is made, they say too. `payer` is as for [`Self::ask`].
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        payer: Payer,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        if endpoint.is_gone() {
            return Err(UpstreamError::Gone);
        }
        let timeouts = self.server.timeouts;
        let behalf = request.extensions_mut().remove::<Behalf>();
        let own = request.extensions_mut().remove::<OwnCredentials>().is_some();
        let mut request = self.addressed(endpoint, request)?;
        // Last of all, so that no header of the caller's takes it away.
        if let Some(shown) = self.shown.as_ref().filter(|_| !own) {
            let put = shown.put(request.headers_mut(), behalf.as_ref()).await;
            put.map_err(UpstreamError::Credential)?;
        }
        let listens = request.method() == Method::GET;
        let in_flight = endpoint.count();
        let sent = Instant::now();
        let limit = timeouts.first_byte.min(timeouts.call);
        let answer = timeout(limit, endpoint.pool().send(request, payer, timeouts.connect)).await;
        let answer = answer.unwrap_or(Err(UpstreamError::FirstByteTimeout(limit)));
        match &answer {
            Ok((response, _)) if is_poor(response.status()) => endpoint.health().answered_poorly(payer),
            Ok(_) => endpoint.health().answered(payer),
            Err(error) if error.is_of_another_call() => endpoint.health().failed_for_another(),
            Err(error) if error.is_of_the_way() => endpoint.health().failed(),
            // A server that has nothing to say unasked need not begin to say it.
            Err(UpstreamError::FirstByteTimeout(_)) if listens => {}
            Err(error) if error.is_of_the_server() => endpoint.health().answered_poorly(payer),
            Err(_) => {}
        }
        let (mut response, stream) = answer?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(UpstreamError::Switched);
        }
        *response.version_mut() = Version::HTTP_11;
        hop::strip(response.headers_mut());
        Ok(response.map(|body| UpstreamBody::new(body, (in_flight, stream), sent, payer, timeouts)))
    }

    fn addressed(
        &self,
        endpoint: &Endpoint,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Request<Full<Bytes>>, UpstreamError> {
        let path = std::mem::take(request.uri_mut()).into_parts().path_and_query;
        if let Some(path) = path {
            *request.uri_mut() = Uri::from(path);
        }
        *request.version_mut() = Version::HTTP_11;
        let headers = request.headers_mut();
        hop::strip(headers);
        // The body is whole: its length is known, and nothing waits for a go-ahead.
        for name in [header::CONTENT_LENGTH, header::EXPECT, header::TRAILER] {
            headers.remove(name);
        }
        if headers.contains_key(header::ACCEPT_ENCODING) {
            // An encoded answer could not be told from another.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if !headers.contains_key(header::HOST) {
            let name = self.host(endpoint);
            headers.insert(header::HOST, name.parse().map_err(http::Error::from)?);
        }
        Ok(request)
    }

    /// What the server is called where the caller does not say.
    fn host(&self, endpoint: &Endpoint) -> String {
        match &self.server.backend {
            Backend::Host { name, port, .. } => match (port, self.server.tls.is_some()) {
                // The scheme's own port goes without saying.
                (443, true) | (80, false) => name.to_string(),
                _ => format!("{name}:{port}"),
            },
            // Without the scope of an IPv6 address, which no URI can hold.
            Backend::Addresses { .. } => {
                let address = endpoint.address();
                SocketAddr::new(address.ip(), address.port()).to_string()
            }
        }
    }

    /// Whether connections made for this server are right for the other.
    fn speaks_like(&self, other: &Server) -> bool {
        let host = |backend: &Backend| match backend {
            Backend::Addresses { .. } => None,
            Backend::Host { name, .. } => Some(Arc::clone(name)),
        };
        let same_name = host(&self.server.backend) == host(&other.backend);
        self.server.tls == other.tls && same_name && self.server.backend.is_h2c() == other.backend.is_h2c()
    }

    /// Waits until it is no longer in force, because it is gone, or another than it was.
    pub async fn until_left(&self) {
        self.left.cancelled().await;
    }

    /// Leaves the endpoints that its successor, if that is another, did not take over.
    pub(super) fn leave_all_but(&self, successor: Option<&Self>) {
        if !successor.is_some_and(|successor| std::ptr::eq(successor, self)) {
            self.left.cancel();
        }
        let kept = successor
            .map(|successor| successor.endpoints.load_full())
            .unwrap_or_default();
        for endpoint in self.endpoints.load().iter() {
            if !kept.iter().any(|other| other.is(endpoint)) {
                endpoint.leave();
            }
        }
    }

    pub(super) fn sweep(&self) {
        self.sessions.sweep();
        self.endpoints.load().iter().for_each(Endpoint::sweep);
    }

    pub(super) fn status(&self) -> UpstreamStatus {
        UpstreamStatus {
            server: self.server.name.clone(),
            endpoints: self.endpoints.load().iter().map(Endpoint::status).collect(),
        }
    }
}

/// Whether an answer says that there is none: of what stands before the server, or of a server that has too much to do.
fn is_poor(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

fn new_endpoint(server: &Server, address: SocketAddr, runtime: &Handle) -> Endpoint {
    let speech = match (&server.tls, server.backend.is_h2c()) {
        (None, false) => Speech::Plain,
        (None, true) => Speech::Http2,
        (Some(wanted), _) => {
            let name = match &server.backend {
                Backend::Host { name, .. } => name.to_string(),
                Backend::Addresses { .. } => address.ip().to_string(),
            };
            Speech::Secure(Arc::new(Secure::new(wanted, &name)))
        }
    };
    Endpoint::new(address, speech, runtime)
}

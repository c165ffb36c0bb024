//! The request for the server: the caller's own, but for what ends at this connection.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header, uri::PathAndQuery};
use http_body_util::Full;

use super::{Dialled, session::Opened};
use crate::{
    mcp::headers::MCP_SESSION_ID,
    proxy::{authenticate, refused::Refused},
    upstream::{BodyError, OwnCredentials, UpstreamBody},
};

/// Headers by which a server could take the request for another than the one that was decided.
const MISLEADING: [HeaderName; 5] = [
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
];

impl Dialled<'_> {
    /// The request for the server, in the session that it knows.
    pub(super) fn request(&self, body: Bytes, session: Option<&Opened>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = self.target().into();
        let headers = request.headers_mut();
        headers.clone_from(&self.head.headers);
        if !self.caller.observed {
            for name in MISLEADING {
                headers.remove(name);
            }
            // What is filtered must be read.
            if self.server.cuts_lists() {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
        }
        // What was meant for us ends here; all else is between the caller and the server that it dialled.
        let ours = authenticate::is_ours(self.server, self.caller);
        if ours {
            headers.remove(header::AUTHORIZATION);
        }
        // What it is shown is for its host, and for nothing else that may be behind the same address.
        if self.server.wanted.host().is_some() && self.server.wanted.credential.is_some() && !self.caller.observed {
            headers.remove(header::HOST);
        }
        if let Some(session) = session {
            headers.insert(MCP_SESSION_ID, session.upstream.clone());
        }
        if self.caller.observed {
            request.extensions_mut().insert(OwnCredentials);
        } else if ours
            && self.server.wanted.exchanges_tokens()
            && self.caller.token.is_some()
            && let Some(behalf) = authenticate::behalf(&self.head.headers)
        {
            request.extensions_mut().insert(behalf);
        }
        request
    }

    fn target(&self) -> PathAndQuery {
        if let Some(target) = &self.target {
            return target.clone();
        }
        let target = match self.head.uri.query() {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        };
        // It was part of a URI when it came.
        target.parse().unwrap_or_else(|_| PathAndQuery::from_static("/"))
    }

    /// Sends a request to the endpoint that has its session, or else to the one that was dialled, and waits for the
    /// head of its answer.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        session: Option<&Opened>,
    ) -> Result<Response<UpstreamBody>, Refused> {
        if let Some(seen) = self.seen {
            let unseen =
                |error: BodyError| Refused::new(StatusCode::BAD_GATEWAY, "answer_unobserved", error.to_string());
            return seen.next(self.payer).await.map_err(unseen);
        }
        let endpoint = session.map_or(&self.endpoint, |session| &session.endpoint);
        let answered = self.upstream.send(endpoint, self.payer, request).await;
        answered.map_err(|error| {
            let (status, reason) = error.answer();
            let (server, endpoint) = (self.server.name(), endpoint.address());
            Refused::new(
                status,
                reason,
                format!("MCP server {server} at {endpoint} {}", error.explain()),
            )
        })
    }
}

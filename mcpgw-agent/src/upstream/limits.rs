//! Every bound of the way to the servers, by name. How long a server may take is its own
//! [`Timeouts`](crate::resources::Timeouts).

use std::time::Duration;

/// How long an idle connection to a server is kept: less than the 5 s after which Node.js and uvicorn close
/// theirs, so that no request is sent into a closing connection.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How often connections are looked for that were idle for too long.
pub const POOL_SWEEP: Duration = Duration::from_secs(1);
/// Idle connections that are kept to one endpoint.
pub const POOL_MAX_IDLE_PER_ENDPOINT: usize = 64;
/// Calls at one endpoint at a time, each with a connection of its own where the server speaks HTTP/1.1. More
/// wait for the server's `connect` timeout; after that they are HTTP 503.
pub const MAX_CALLS_PER_ENDPOINT: usize = 4_096;
/// … of one workload, with those that wait and the streams that it listens on: as many as it may have connections. More
/// are HTTP 503 at once, so that others find room.
pub const MAX_CALLS_PER_ENDPOINT_AND_WORKLOAD: usize = 1_024;
/// Calls that wait at one endpoint, of all workloads.
pub const MAX_WAITING_PER_ENDPOINT: usize = 4_096;

/// Calls on one connection of HTTP/2, if the server allows as many; then another connection is opened.
pub const MAX_STREAMS_PER_CONNECTION: usize = 100;
/// What a server may send on a stream of HTTP/2 that the client has not taken yet, in bytes.
pub const HTTP2_STREAM_WINDOW: u32 = 64 * 1024;
/// … on all streams of one connection: enough for each, so that no stream waits for the client of another.
pub const HTTP2_CONNECTION_WINDOW: u32 = HTTP2_STREAM_WINDOW * MAX_STREAMS_PER_CONNECTION as u32;
/// How soon, and how often later on, it is looked at how many streams the server allows.
pub const SETTINGS_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// How long a connection of HTTP/2 without a call is kept.
pub const HTTP2_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Head of a server's answer, in bytes.
pub const READ_BUFFER: usize = 256 * 1024;

/// How long a connection is silent before it is probed, and between probes.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered probes after which a connection is lost.
pub const KEEPALIVE_PROBES: u32 = 4;

/// How long what DNS said is good at least, whatever it says itself.
pub const DNS_MIN_TTL: Duration = Duration::from_secs(5);
/// How long at most.
pub const DNS_MAX_TTL: Duration = Duration::from_secs(300);
/// When DNS is asked again that did not answer.
pub const DNS_RETRY: Duration = Duration::from_secs(5);
/// Addresses of one host that are dialled.
pub const MAX_ADDRESSES_PER_HOST: usize = 32;

/// How long an address is a host's to callers after DNS last gave it for that: clients and the caches that they ask
/// may keep it that long.
pub const HOST_GRACE: Duration = Duration::from_secs(600);
/// Addresses by which callers may know one host.
pub const MAX_LINGERING_PER_HOST: usize = 128;

/// Endpoints that are dialled for one call, where the first ones cannot be reached: each may take as long as the
/// server's `connect` timeout.
pub const MAX_ENDPOINTS_TRIED: usize = 3;
/// Calls of one workload in a row that got no answer at an endpoint, or HTTP 502, 503 or 504, until that workload leaves
/// it alone.
pub const MAX_POOR_ANSWERS: u32 = 5;
/// Workloads that are answered poorly at one endpoint, of which that is known; of more, the one is forgotten that was
/// so longest ago.
pub const MAX_POORLY_ANSWERED: usize = 1_024;
/// How long it is known of a workload that it was answered poorly, where it makes no other call there: longer than it
/// would leave the endpoint alone.
pub const POOR_MEMORY: Duration = Duration::from_secs(2 * EJECTION.1.as_secs());
/// How long an endpoint that could not be reached, or failed too often, is left alone; twice as long each time, up to the second.
pub const EJECTION: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// For an authorization server to answer.
pub const CREDENTIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an authorization server that gave no token is not asked again.
pub const CREDENTIAL_RETRY: Duration = Duration::from_secs(5);
/// Answer of an authorization server, in bytes.
pub const MAX_TOKEN_ANSWER: usize = 64 * 1024;
/// How long a token is good whose authorization server does not say.
pub const DEFAULT_TOKEN_LIFE: Duration = Duration::from_secs(300);
/// How long any token is taken to be good.
pub const MAX_TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Tokens of callers that are kept exchanged, for one server.
pub const MAX_EXCHANGED_TOKENS: usize = 4_096;

/// Open sessions of a server of the HTTP+SSE transport.
pub const MAX_HTTP_SSE_SESSIONS: usize = 1_024;
/// … of one caller.
pub const MAX_HTTP_SSE_SESSIONS_PER_OWNER: usize = 256;
/// How long such a session is kept that nobody uses.
pub const HTTP_SSE_IDLE: Duration = Duration::from_secs(1_800);
/// Path and query to which messages of such a session are posted, in bytes.
pub const MAX_HTTP_SSE_TARGET: usize = 4 * 1024;
/// One event of such a server.
pub const MAX_HTTP_SSE_EVENT: usize = 16 * 1024 * 1024;
/// Events of such a server that wait for whoever made the call.
pub const HTTP_SSE_QUEUE: usize = 16;
/// How long the other calls of a session wait in all for a caller that does not take its events; then its call is given
/// up.
pub const HTTP_SSE_PATIENCE: Duration = Duration::from_secs(1);
/// What such a server answers when it takes a message, in bytes; more is not read.
pub const MAX_HTTP_SSE_ANSWER: usize = 64 * 1024;
/// For a server to end a session that was let go of.
pub const ENDING_TIMEOUT: Duration = Duration::from_secs(10);

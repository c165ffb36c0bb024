//! Every bound of the proxy, by name.

use std::time::Duration;

/// Open connections of one workload. At the bound none is accepted; those that wait count against the
/// kernel's quota, which refuses.
pub const MAX_CONNECTIONS_PER_WORKLOAD: usize = 1_024;

/// At the gateway's own listeners there is room for the connections, the bodies and the calls over HTTP/2 of so many
/// workloads.
pub const WORKLOADS_AT_GATEWAY: usize = 4;
/// … of which one caller has this part: of the bodies and calls by its token; of the connections by its token and by the
/// address that they come from; of what is not known to be anybody's yet by that address. It leaves most of it to others.
pub const PART_AT_GATEWAY: usize = 8;

/// Request headers, in bytes as they are on the wire: more is HTTP 431.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Request headers, in number: more is HTTP 431. hyper itself reads no more than 100, and is slower when it is told
/// another number.
pub const MAX_HEADERS: usize = 64;
/// Where reading itself stops, and hyper answers 431 without a body: beyond our own bounds.
pub const READ_BUFFER: usize = 256 * 1024;
/// Body of a request: more is HTTP 413.
pub const MAX_BODY: usize = 4 * 1024 * 1024;
/// Bodies of one workload's requests together, in bytes, from their arrival until the server begins to
/// answer. More wait; after [`BODY_TIMEOUT`] that is HTTP 503.
pub const MAX_BODIES_PER_WORKLOAD: usize = 64 * 1024 * 1024;

/// Calls of one workload that are in flight over HTTP/2: more are HTTP 503. Over HTTP/1.1 its connections bound them.
pub const MAX_STREAMS_PER_WORKLOAD: usize = MAX_CONNECTIONS_PER_WORKLOAD;
/// Calls that are in flight on one connection of HTTP/2.
pub const MAX_STREAMS_PER_CONNECTION: u32 = 128;
/// What a client may send on one stream of HTTP/2 that was not asked for yet, in bytes.
pub const HTTP2_STREAM_WINDOW: u32 = 64 * 1024;
/// … on all streams of one connection: as much as HTTP/1.1 reads ahead.
pub const HTTP2_CONNECTION_WINDOW: u32 = READ_BUFFER as u32;
/// Of an answer over HTTP/2, what waits for the client to take it, in bytes.
pub const HTTP2_SEND_BUFFER: usize = 64 * 1024;
/// What is given to HTTP/2 at once, in bytes: the end of an answer that its client never reads holds no more than this
/// until its connection ends.
pub const HTTP2_CHUNK: usize = 16 * 1024;
/// How often a client of HTTP/2 is asked whether it is still there, and for how long it may not answer.
pub const HTTP2_KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// For a client that does not read to take the next bytes: then its connection ends, and its calls with it; over HTTP/2
/// also the one stream that it does not read.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// For a client to complete the TLS handshake that it has begun.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From the connection, or the answer before, to complete request headers.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// From complete headers to the complete body: later is HTTP 408.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that are read and thrown away after a last answer, so that closing does not destroy it on its way.
pub const MAX_LINGER_BYTES: usize = 16 * 1024 * 1024;
/// How long they are read.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// What an observed connection reads at once, in each direction.
pub const OBSERVED_BUFFER: usize = 16 * 1024;
/// How long a server may take to accept an observed connection: a little longer than the kernel lets anybody try who
/// dials it directly, unless it is told otherwise (127 s).
pub const OBSERVED_CONNECT_TIMEOUT: Duration = Duration::from_secs(130);
/// The copy of one direction of an observed connection that was not looked at yet, in bytes. Where there is more, the
/// rest of the connection is not looked at.
pub const MAX_TAPPED: usize = 8 * 1024 * 1024;
/// … of all observed connections of a workload.
pub const MAX_TAPPED_PER_WORKLOAD: usize = 64 * 1024 * 1024;
/// Answers to requests of one observed connection that nobody wanted to read, and that have not come whole. Where there
/// are more, no answer on it is looked at any more.
pub const MAX_UNREAD_ANSWERS: usize = 1_024;

/// First and longest pause in looking for the rest of a preface of HTTP/2 that came in pieces.
pub const PREFACE_PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));
/// A TLS ClientHello that is looked into, in bytes.
pub const MAX_CLIENT_HELLO: usize = 16 * 1024;

/// First and longest wait after a failed accept (no descriptors, no memory).
pub const ACCEPT_BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// One event of a server's stream that is looked into.
pub const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;
/// Answers that must be held whole because something in them changes: larger is HTTP 502.
pub const MAX_REWRITTEN_ANSWER: usize = 16 * 1024 * 1024;
/// How far the answer to `initialize` is read for the revision that the server chose.
pub const MAX_INITIALIZE_ANSWER: usize = 256 * 1024;
/// URIs of resources that streams and sessions are subscribed to, in bytes, with what it takes to keep them.
pub const MAX_SUBSCRIBED_BYTES: usize = 32 * 1024 * 1024;
/// … of one workload.
pub const MAX_SUBSCRIBED_BYTES_PER_WORKLOAD: usize = 4 * 1024 * 1024;
/// Sessions of which more is known than their ids say.
pub const MAX_KNOWN_SESSIONS: usize = 65_536;

/// Calls of one workload's sessions that go on, with those whose answers are to come on another stream: as many as it
/// may have in flight, twice. More are HTTP 503.
pub const MAX_PENDING_PER_WORKLOAD: usize = 2 * MAX_STREAMS_PER_WORKLOAD;
/// … of all of them.
pub const MAX_PENDING: usize = 65_536;
/// The longest id of such a call that is kept as it is, in bytes.
pub const MAX_PENDING_ID: usize = 256;
/// How long a call waits for a stream that nobody resumes.
pub const PENDING_TIME: Duration = Duration::from_secs(600);
/// … at most, after its client has taken it back: a server that heeds that says nothing more of it.
pub const CANCELLED_TIME: Duration = Duration::from_secs(30);

/// How long a timer waits at most for a time of day: then it looks at the clock again, which may have been set.
pub const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Answers of our own that wait for a client to read its one stream.
pub const MAX_SAID: usize = 64;

/// Of all that one request wants to listen to, so many decisions have lines of their own in the audit log; the rest are
/// named in lines that stand for many. Nobody is to fill the log with few requests.
pub const MAX_LISTENED_ON_RECORD: usize = 8;

/// How often what was not used for long is forgotten.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

//! Every bound of the gateway, by name.

use std::time::Duration;

/// Answers that must be held whole, because something in them changes: larger is an error.
pub(super) const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// One event of a server's stream.
pub(super) const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// Sessions of one workload, whomever it speaks for, that are kept open at servers: as many as it may have streams. The
/// one that was unused for longest goes first; where all are in use, another is refused.
pub(super) const MAX_SESSIONS_PER_WORKLOAD: usize = crate::proxy::limits::MAX_CONNECTIONS_PER_WORKLOAD;
/// Sessions of all workloads; else as above.
pub(super) const MAX_SESSIONS: usize = 65_536;
/// After this long without a call the sessions at the servers are ended. The client's own session goes on: they are
/// opened again when it is used.
pub(super) const SESSION_IDLE: Duration = Duration::from_secs(30 * 60);
/// Ended sessions that are remembered until they could no longer be used anyway.
pub(super) const MAX_ENDED: usize = 65_536;

/// For a server to open a session; and in one that takes the place of another, for each [`MAX_SUBSCRIBED_AT_A_TIME`]
/// resources that it is asked for.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls of one session that wait for their answers.
pub(super) const MAX_CALLS_PER_SESSION: usize = 1_024;
/// Calls of one workload that go on though their clients went away; of more, each ends with its client.
pub(super) const MAX_ORPHANS_PER_WORKLOAD: usize = 256;
/// … of all workloads.
pub(super) const MAX_ORPHANS: usize = 64 * MAX_ORPHANS_PER_WORKLOAD;
/// Calls of one workload that servers are being told of, that their clients went away; of more they are not told.
pub(super) const MAX_NOTICES_PER_WORKLOAD: usize = 64;
/// … of all workloads.
pub(super) const MAX_NOTICES: usize = 64 * MAX_NOTICES_PER_WORKLOAD;
/// For a server to hear that a call is cancelled, or that nobody can be asked.
pub(super) const NOTICE_TIMEOUT: Duration = Duration::from_secs(5);
/// Questions in one session at a server that it is being told that nobody can be asked; of more it is not told.
pub(in crate::proxy) const MAX_DECLINED_AT_A_TIME: usize = 16;
/// Resources that one session is subscribed to at one server.
pub(super) const MAX_SUBSCRIPTIONS: usize = 1_024;
/// Resources that a server is asked for at the same time, in a session there that takes the place of another.
pub(super) const MAX_SUBSCRIBED_AT_A_TIME: usize = 16;
/// First and longest pause before a server is listened to again that broke off.
pub(super) const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Updates of resources that wait for a modern client to read its stream; then it is told of all its resources at once.
pub(super) const SHARE_QUEUE: usize = 256;
/// How long a modern client waits to hear what it listens to; servers that are slower to take a subscription are left
/// out.
pub(super) const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an update waits for a legacy client to open its stream.
pub(super) const FEED_TIMEOUT: Duration = Duration::from_secs(5);
/// A server's own id of an event that a client gets, in bytes: behind an event with a longer one no stream is resumed.
pub(super) const MAX_EVENT_ID: usize = 1_024;
/// The longest id of a call whose client resumes the stream itself, and name of what it is about, together and in bytes:
/// they are in the ids of events, beside the server's own id and that of its session.
pub(super) const MAX_RESUMED_NAMES: usize = 1_024;
/// How long a server is left alone that ended a stream for it to be resumed, and did not say for how long.
pub(super) const FIRST_RESUMPTION: Duration = Duration::from_secs(1);
/// Shortest and longest time that it may say.
pub(super) const RESUMPTION: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// How often a stream is resumed that brings no event.
pub(super) const MAX_RESUMPTIONS: usize = 8;
/// Messages that wait for a client to read its stream; then servers wait too.
pub(super) const STREAM_QUEUE: usize = 64;
/// A stream that is silent for this long gets a comment, so that nobody between takes it for dead.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The longest URI that a resource template is sought for, in bytes.
pub(super) const MAX_MATCHED_URI: usize = 2_048;
/// Bytes that are compared for one answer, to give its URIs as the client knows them. The rest of a longer one's stay as
/// its server has them.
pub(super) const MAX_URI_STEPS: usize = 4 * 1024 * 1024;

/// Tasks of which it is remembered whose they are; of more the oldest are forgotten, until their owners ask for them.
pub(super) const MAX_KNOWN_TASKS: usize = 65_536;

/// Rounds of questions that a server may ask within one call, where the gateway asks them for it.
pub(super) const MAX_ROUNDS: usize = 10;
/// What a client's answers to the questions of one round may come to together, in bytes: what the server is sent with
/// them is then no longer than two requests of a client.
pub(super) const MAX_ANSWERS_TO_QUESTIONS: usize = crate::proxy::limits::MAX_BODY;
/// How long a client may take to answer one of them.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

/// Kinds of callers whose views are kept; and single principals, where servers offer something else to each.
pub(super) const MAX_VIEWS: usize = 256;
/// Bytes of the views of single principals.
pub(super) const MAX_PERSONAL_VIEW_BYTES: usize = 64 * 1024 * 1024;
/// … of the views that callers share, unless one alone has more.
pub(super) const MAX_SHARED_VIEW_BYTES: usize = 256 * 1024 * 1024;
/// How long clients may keep a list.
pub(super) const LIST_TTL_MS: u64 = 5_000;

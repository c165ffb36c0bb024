//! Every bound of discovery, by name.

use std::time::Duration;

/// Pages of one list.
pub(super) const MAX_PAGES: usize = 64;
/// Items of one list.
pub(super) const MAX_ITEMS: usize = 10_000;
/// Resource templates of one server that are offered on, the first in its list: by these the owner of a URI is sought
/// that no server lists. Of more the server's status says how many there are.
pub const MAX_TEMPLATES: usize = 64;
/// The longest of them, in bytes.
pub const MAX_TEMPLATE: usize = 1_024;
/// Bytes of one answer.
pub(super) const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of all lists of one server.
pub(super) const MAX_CATALOGUE_BYTES: usize = 64 * 1024 * 1024;
/// What is kept of a server's instructions, in bytes: as much as all servers' may come to together.
pub const MAX_INSTRUCTIONS: usize = 32 * 1024;
/// What a server says that it can do, in bytes. Of more no extension is taken on.
pub(super) const MAX_CAPABILITIES: usize = 64 * 1024;
/// One answer, and all of them together.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// As [`ANSWER_TIMEOUT`].
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

/// Before a server is asked for its lists it has this long to take those who want to hear of changes.
pub(super) const LISTEN_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a server is asked that does not tell when its lists change.
pub(super) const POLL: Duration = Duration::from_secs(60);
/// The shortest time between two times that a server is asked, whatever it tells.
pub(super) const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The first and the longest wait after a failure.
pub(super) const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Changes that wait to be told to clients; a client that is further behind is told that all lists changed.
pub(super) const CHANGES: usize = 256;

/// Catalogues of single principals, at all servers. The one that was unused for longest goes first.
pub(super) const MAX_PERSONAL: usize = 1_024;
/// Bytes of one of them.
pub(super) const MAX_PERSONAL_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of all of them; else as [`MAX_PERSONAL`].
pub(super) const MAX_ALL_PERSONAL_BYTES: usize = 64 * 1024 * 1024;
/// Principals on whose behalf one server is asked at the same time; others wait.
pub(super) const MAX_PERSONAL_FETCHES: usize = 8;
/// How long requests wait for a server, since it was asked; after that they go on without it.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How long a principal's catalogue is used after it was seen, where its server cannot be asked.
pub(super) const MAX_PERSONAL_AGE: Duration = Duration::from_secs(10 * 60);

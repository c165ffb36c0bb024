//! Every bound of the engines, by name.

use std::time::Duration;

/// Calls that wait for one service. More are treated as if it did not answer.
pub const MAX_WAITING: usize = 1_024;
/// … of one workload: none makes a service seem silent to the calls of others.
pub const MAX_WAITING_PER_WORKLOAD: usize = MAX_WAITING / 4;
/// Questions that are asked of one service beside calls. More are not asked, and counted.
pub const MAX_BESIDE: usize = 1_024;
/// … for one workload: none leaves calls of others uncounted.
pub const MAX_BESIDE_PER_WORKLOAD: usize = MAX_BESIDE / 4;
/// Size of an answer, in bytes.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// What is repeated of a service's own words, in characters.
pub const MAX_WORDS: usize = 200;
/// What a policy engine is told of a request's JSON-RPC id, in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// Up to here a double tells whole numbers exactly.
pub const MAX_SAFE_INTEGER: u64 = 1 << 53;
/// To find a service, to connect, and to agree on TLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a connection is tried that nothing is heard on.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long it may take to answer that.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// When to try again after a service has not answered, for want of a better estimate.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

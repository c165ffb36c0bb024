//! Every bound of tokens and of the keys that they are verified with, by name.

use std::time::Duration;

/// Length of a token, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Length of a key's id, in bytes.
pub const MAX_KEY_ID_BYTES: usize = 512;
/// Length of a subject, of a group and of the names in `kubernetes.io`, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;
/// Groups of one token.
pub const MAX_GROUPS: usize = 512;
/// Audiences of one token.
pub const MAX_AUDIENCES: usize = 64;

/// A document with keys, or one that says where they are, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 512 * 1024;
/// Keys of one issuer; what is more is not read.
pub const MAX_KEYS: usize = 128;
/// Bits of an RSA key.
pub const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// For an issuer to answer one request.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an issuer is asked for its keys.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(300);
/// Between two times that an issuer is asked, whatever asks: a token with an unknown key, or a failure.
pub const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// How long a call waits for its issuer to be asked for a key that is not known, [`MIN_REFRESH_INTERVAL`] included.
pub const UNKNOWN_KEY_WAIT: Duration = Duration::from_secs(10);

/// For an API server to answer about one token, waiting for those before it included; waiting for others of the same
/// caller may take as long before that.
pub const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);
/// How many tokens an API server is asked about at a time.
pub const REVIEWS_AT_A_TIME: usize = 8;
/// About how many it is to be asked for one caller, who may have made them up: more of its tokens wait for
/// [`REVIEW_TIMEOUT`], and are refused then.
pub const REVIEWS_PER_CALLER: usize = 2;
/// … for all of them, waiting for those before included.
pub const MAX_REVIEWS: usize = 256;
/// How long the authorities that it is known by are relied on before their file is read again.
pub const REVIEW_AUTHORITIES_TIME: Duration = Duration::from_secs(60);
/// After it could not be asked about the token of an open stream, until it is asked again.
pub const REVIEW_AGAIN: Duration = Duration::from_secs(5);
/// Between two times that it is asked about the token of an open stream, however slow it is and however short its
/// answers are good.
pub const MIN_REVIEW_PAUSE: Duration = Duration::from_millis(250);
/// Its answer, in bytes: it repeats the token.
pub const MAX_REVIEW_BYTES: usize = 64 * 1024;

/// Parts of the cache of verified tokens, each with a lock of its own.
pub const CACHE_SHARDS: usize = 32;
/// Verified tokens in one part.
pub const CACHED_PER_SHARD: usize = 1_024;
/// What the tokens in one part may have come to, in bytes as they were sent.
pub const CACHED_BYTES_PER_SHARD: usize = 1024 * 1024;
/// Refused tokens in one part: those that cost a look at their signature.
pub const REFUSED_PER_SHARD: usize = 256;
/// How long such a refusal is repeated.
pub const REFUSED_TIME: Duration = Duration::from_secs(10);

//! What all tokens have in common.

use std::{fmt, time::Duration};

use aws_lc_rs::digest;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error as _};

use super::{Purpose, SealError, Sealer, Unsealed};

/// Whom a token belongs to, as a digest: tokens stay short, and do not change length with names.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner([u8; 16]);

impl Owner {
    /// Of whom this names: [`Caller`](crate::identity::Caller) makes the names.
    pub fn of(owner: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, owner.as_bytes());
        let mut short = [0; 16];
        short.copy_from_slice(&digest.as_ref()[..16]);
        Self(short)
    }

    /// Which of `count` shards it belongs to.
    pub fn shard(&self, count: usize) -> usize {
        let [first, second, ..] = self.0;
        usize::from(u16::from_le_bytes([first, second])) % count
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl Serialize for Owner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        bytes_16::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Owner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bytes_16::deserialize(deserializer).map(Self)
    }
}

/// Why a token is of no use. To a client [`Forged`](Self::Forged), [`Foreign`](Self::Foreign) and
/// [`Expired`](Self::Expired) read the same: it learns nothing about tokens of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not made here, for another purpose, or changed.
    #[error("unknown or expired")]
    Forged,
    /// Too old.
    #[error("unknown or expired")]
    Expired,
    /// It belongs to somebody else.
    #[error("unknown or expired")]
    Foreign,
    /// Too long to be made or to be looked at.
    #[error("too long")]
    TooLong,
    /// It cannot be made: the system has no randomness.
    #[error("the system has no randomness")]
    NoRandomness,
}

impl TokenError {
    /// The word for it in metrics and in the audit line.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Forged => "token_forged",
            Self::Expired => "token_expired",
            Self::Foreign => "token_foreign",
            Self::TooLong => "token_too_long",
            Self::NoRandomness => "no_randomness",
        }
    }
}

impl From<SealError> for TokenError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::TooLong => Self::TooLong,
            SealError::NoRandomness => Self::NoRandomness,
        }
    }
}

impl From<Unsealed> for TokenError {
    fn from(error: Unsealed) -> Self {
        match error {
            Unsealed::TooLong => Self::TooLong,
            Unsealed::Forged => Self::Forged,
        }
    }
}

/// A kind of token.
pub trait Token: Serialize + DeserializeOwned {
    /// What it is for.
    const PURPOSE: Purpose;
    /// How long it is good for; `None`: as long as its key.
    const MAX_AGE: Option<Duration>;

    /// Whom it belongs to.
    fn owner(&self) -> Owner;

    /// When it was made, in seconds of Unix time; `None` where its age does not matter.
    fn issued(&self) -> Option<u64>;

    /// Makes the token.
    fn seal(&self, sealer: &Sealer) -> Result<String, TokenError> {
        // Strings, numbers and JSON always serialise.
        let content = serde_json::to_vec(self).map_err(|_| TokenError::Forged)?;
        Ok(sealer.seal(Self::PURPOSE, &content)?)
    }

    /// Reads a token that `owner` brings at `now`, in seconds of Unix time.
    fn open(sealer: &Sealer, token: &str, owner: Owner, now: u64) -> Result<Self, TokenError> {
        let content = sealer.open(Self::PURPOSE, token)?;
        let token: Self = serde_json::from_slice(&content).map_err(|_| TokenError::Forged)?;
        token.check(owner, now)?;
        Ok(token)
    }

    /// Whether it is of use to `owner` at `now`.
    fn check(&self, owner: Owner, now: u64) -> Result<(), TokenError> {
        if self.owner() != owner {
            return Err(TokenError::Foreign);
        }
        // One of a node whose clock is ahead has no age yet.
        match (self.issued(), Self::MAX_AGE) {
            (Some(issued), Some(max)) if now.saturating_sub(issued) > max.as_secs() => Err(TokenError::Expired),
            _ => Ok(()),
        }
    }
}

/// Sixteen bytes as text.
pub(super) mod bytes_16 {
    use super::*;

    pub fn serialize<S: Serializer>(bytes: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(D::Error::custom)?;
        bytes.try_into().map_err(|_| D::Error::custom("not sixteen bytes"))
    }
}

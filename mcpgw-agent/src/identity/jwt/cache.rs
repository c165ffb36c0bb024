//! Tokens that were verified before, by their digest: what a call costs is a digest and a look-up.
//!
//! Refused tokens have a table of their own, so that whoever sends many of them pushes out nobody's good one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::digest;

use super::{
    Refusal, Verified,
    limits::{CACHE_SHARDS, CACHED_BYTES_PER_SHARD, CACHED_PER_SHARD, REFUSED_PER_SHARD, REFUSED_TIME},
    trusted::Trusted,
};
use crate::resources::Issuer;

/// SHA-256 of a token. The cache holds no token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(token: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, token.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// Between 0 and 1, for each token always the same.
    pub(super) fn part(&self) -> f64 {
        // Not of the byte that chooses the part of the cache.
        f64::from(u16::from_be_bytes([self.0[1], self.0[2]])) / f64::from(u16::MAX)
    }

    fn shard(&self) -> usize {
        usize::from(self.0[0]) % CACHE_SHARDS
    }
}

/// What was found out about tokens.
pub(super) struct Cache(Box<[Mutex<Shard>]>);

#[derive(Default)]
struct Shard {
    verified: HashMap<Digest, Entry>,
    bytes: usize,
    refused: HashMap<Digest, (Refusal, u64, Arc<Trusted>)>,
}

struct Entry {
    verified: Arc<Verified>,
    bytes: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self((0..CACHE_SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl Cache {
    /// What is known of a token, of an issuer that is believed. What no longer holds is forgotten.
    pub(super) fn get(
        &self,
        digest: &Digest,
        believed: &[Arc<Issuer>],
        now: u64,
    ) -> Option<Result<Arc<Verified>, Refusal>> {
        let is_believed = |trusted: &Trusted| believed.contains(&trusted.issuer);
        let mut shard = self.shard(digest);
        if let Some(entry) = shard.verified.get(digest) {
            if !is_believed(&entry.verified.issuer) {
                return None;
            }
            // Else its key or its issuer is gone, and the successor is asked; or its review is too old.
            if entry.verified.is_proven(now) {
                let verified = Arc::clone(&entry.verified);
                drop(shard);
                return Some(verified.check(now).map(|()| verified));
            }
            shard.forget(digest);
        }
        match shard.refused.get(digest) {
            Some((refusal, until, issuer)) if now < *until => is_believed(issuer).then_some(Err(*refusal)),
            Some(_) => {
                shard.refused.remove(digest);
                None
            }
            None => None,
        }
    }

    /// Remembers a verified token that was `bytes` long.
    pub(super) fn insert(&self, digest: Digest, verified: Arc<Verified>, bytes: usize, now: u64) {
        let mut shard = self.shard(&digest);
        shard.forget(&digest);
        if shard.is_full(bytes) {
            let over = |entry: &Entry| !entry.verified.is_proven(now) || entry.verified.check(now).is_err();
            let gone: Vec<Digest> = shard
                .verified
                .iter()
                .filter(|(_, entry)| over(entry))
                .map(|(digest, _)| *digest)
                .collect();
            gone.iter().for_each(|digest| shard.forget(digest));
        }
        while shard.is_full(bytes) {
            // Any of them: nobody can choose which, as the table's order is random and the digests are not.
            let Some(any) = shard.verified.keys().next().copied() else {
                break;
            };
            shard.forget(&any);
        }
        shard.bytes += bytes;
        shard.verified.insert(digest, Entry { verified, bytes });
    }

    /// Remembers for a while that a token of this issuer is not good, and forgets that it was.
    pub(super) fn refuse(&self, digest: Digest, refusal: Refusal, issuer: &Arc<Trusted>, now: u64) {
        let mut shard = self.shard(&digest);
        shard.forget(&digest);
        if shard.refused.len() >= REFUSED_PER_SHARD {
            shard.refused.retain(|_, (_, until, _)| now < *until);
        }
        if shard.refused.len() >= REFUSED_PER_SHARD {
            shard.refused.clear();
        }
        let until = now + REFUSED_TIME.as_secs();
        shard.refused.insert(digest, (refusal, until, Arc::clone(issuer)));
    }

    /// Forgets the refusals of issuers for which `gone` holds.
    pub(super) fn forget_refusals(&self, gone: impl Fn(&Arc<Trusted>) -> bool) {
        for shard in &self.0 {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.refused.retain(|_, (_, _, issuer)| !gone(issuer));
        }
    }

    /// How many verified tokens are known.
    pub(super) fn len(&self) -> usize {
        let count = |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).verified.len();
        self.0.iter().map(count).sum()
    }

    fn shard(&self, digest: &Digest) -> MutexGuard<'_, Shard> {
        self.0[digest.shard()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn is_full(&self, more: usize) -> bool {
        self.verified.len() >= CACHED_PER_SHARD
            || self.bytes + more > CACHED_BYTES_PER_SHARD && !self.verified.is_empty()
    }

    fn forget(&mut self, digest: &Digest) {
        if let Some(entry) = self.verified.remove(digest) {
            self.bytes -= entry.bytes;
        }
    }
}

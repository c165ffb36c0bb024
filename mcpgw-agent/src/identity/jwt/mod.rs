//! Tokens: who made them, whether that is proven, and for whom they are.
//!
//! ```text
//! mod      the issuers in force, and what a token of theirs proves
//! compact  a token as it was sent: its form, and what its header asks for
//! claims   what its claims say, once its signature is proven
//! json     objects that have one reading only
//! keys     the keys of an issuer, each for what it may verify
//! source   where they are read from
//! review   an issuer that is asked about each token
//! flights  … by one caller for all who show that token meanwhile
//! keep     tokens that count for long, asked about again in time
//! trusted  an issuer in force: its keys, and who keeps them current
//! cache    tokens that were verified before
//! refusal  why a token is refused
//! limits   every bound, by name
//! ```
//!
//! Signatures are verified by `jsonwebtoken` (aws-lc). What the claims mean is checked here: exactly, with a reason
//! for each refusal, and at a time that tests can choose.

mod cache;
mod claims;
mod compact;
mod flights;
mod json;
mod keep;
mod keys;
pub mod limits;
mod refusal;
mod review;
mod source;
#[cfg(test)]
pub(crate) mod tests;
mod trusted;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::runtime::Handle;

pub use claims::suppose;
pub use refusal::Refusal;

use super::Token;
use crate::{
    resources::{Issuer, KeySource, Settings},
    shares::Payer,
};
use cache::{Cache, Digest};
use claims::Checked;
use compact::{Compact, Header};
use keys::{Key, KeySet};
use trusted::Trusted;

/// What tells whose a token is: [`Issuers`], by the keys of each issuer, or by asking it (TokenReview).
///
/// Whose tokens are believed the caller says, by the plan that it goes by: a call is decided by that alone, also while
/// another comes into force.
pub trait Authenticator: Send + Sync {
    /// What is known of this token already; cheap, and never waits.
    fn known(&self, token: &str, believed: &[Arc<Issuer>]) -> Option<Result<Arc<Verified>, Refusal>>;

    /// Finds out. May ask the issuer for a key that is not known, or about the token, within a bounded time; for each
    /// `payer`, who shows the token, about few at a time.
    fn verify<'a>(&'a self, token: &'a str, believed: &'a [Arc<Issuer>], payer: Payer) -> Verifying<'a>;

    /// Keeps what is known of a token that was verified from running out, for as long as this is waited for; once for
    /// all who do. Then why it is no longer good: that somebody could not be asked is no reason.
    fn keep<'a>(&'a self, token: &'a str, believed: &'a [Arc<Issuer>], payer: Payer) -> Keeping<'a>;
}

/// The answer of an [`Authenticator`], on its way.
pub type Verifying<'a> = Pin<Box<dyn Future<Output = Result<Arc<Verified>, Refusal>> + Send + 'a>>;

/// The end of what an [`Authenticator`] believes.
pub type Keeping<'a> = Pin<Box<dyn Future<Output = Refusal> + Send + 'a>>;

/// A token whose signature and times are proven. For whom it is, [`is_for`](Self::is_for) says.
pub struct Verified {
    /// What it says.
    pub token: Arc<Token>,
    audiences: Vec<Arc<str>>,
    scopes: Vec<Arc<str>>,
    proof: Proof,
    issuer: Arc<Trusted>,
}

/// Why a token is believed.
enum Proof {
    /// It was signed with this key.
    Key(Arc<Key>),
    /// Its issuer said so; it is asked again when this many seconds of Unix time are over.
    Review { until: u64 },
}

impl Verified {
    /// Whether what it is believed for still stands; else it is to be looked at anew. What an issuer said goes with that
    /// issuer, as a key that is withdrawn does: another like it may be in force by now.
    fn is_proven(&self, now: u64) -> bool {
        match &self.proof {
            Proof::Key(key) => key.is_good(),
            Proof::Review { until } => now < *until && self.issuer.check_age(now).is_ok(),
        }
    }

    /// Whether it is still good: it has not ended, and its issuer's keys can be relied on.
    fn check(&self, now: u64) -> Result<(), Refusal> {
        self.issuer.check_age(now)?;
        match now < self.token.ends {
            true => Ok(()),
            false => Err(Refusal::Expired),
        }
    }

    /// Checks that it is for us: for an audience of its issuer's settings, or for what clients call this place,
    /// character for character: the public URL, or that with a path of it.
    pub fn is_for(&self, place: &Place<'_>) -> Result<(), Refusal> {
        let ours = |audience: &str| {
            let public = place.public_url.is_some_and(|url| {
                let path = audience.strip_prefix(url);
                path.is_some_and(|path| path.is_empty() || place.path == Some(path))
            });
            public || self.issuer.issuer.audiences.iter().any(|ours| **ours == *audience)
        };
        match self.audiences.iter().any(|audience| ours(audience)) {
            true => Ok(()),
            false => Err(Refusal::Audience),
        }
    }

    /// Checks that it has the scopes that its issuer's settings want.
    pub fn has_scopes(&self) -> Result<(), Refusal> {
        let wanted = self.issuer.issuer.oauth.iter().flat_map(|oauth| &oauth.scopes);
        match wanted.into_iter().all(|scope| self.scopes.contains(scope)) {
            true => Ok(()),
            false => Err(Refusal::Scope),
        }
    }
}

/// What clients call the place that a token was brought to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// The gateway's public URL.
    pub public_url: Option<&'a str>,
    /// The path below it: `/mcp` or `/mcp/<catalog>`; `None` on the redirected path, which has no URL of ours.
    pub path: Option<&'a str>,
}

/// What is known of an issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerStatus {
    /// Its name.
    pub issuer: String,
    /// `Ready`, `NoKeys` or `KeysTooOld`; of one that is asked about each token `Ready` or `ReviewFails`.
    pub state: String,
    /// How many keys it has that tokens can be verified with.
    pub keys: usize,
    /// Keys of its document that they cannot be: for something else, too weak, or malformed.
    pub unusable_keys: usize,
    /// Seconds since its keys were last read; `None`: never.
    pub age_seconds: Option<u64>,
    /// How old they may become before its tokens are refused.
    pub max_age_seconds: u64,
    /// Why they could not be read the last time.
    pub error: Option<String>,
    /// How often they were read.
    pub reads: u64,
    /// How often they could not be.
    pub failed_reads: u64,
}

/// How often tokens were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Known from an earlier call.
    pub known: u64,
    /// Verified.
    pub verified: u64,
    /// Refused.
    pub refused: u64,
    /// Verified tokens that are remembered now.
    pub cached: u64,
}

/// The issuers whose tokens are believed.
pub struct Issuers {
    runtime: Handle,
    in_force: ArcSwap<InForce>,
    cache: Cache,
    known: AtomicU64,
    verified: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct InForce {
    /// In the order of the settings.
    now: Vec<Arc<Trusted>>,
    /// Those that went with the last change, for calls that go by the plan before.
    before: Vec<Arc<Trusted>>,
}

impl InForce {
    /// The issuer of this name, as `believed` has it.
    fn find(&self, name: &str, believed: &[Arc<Issuer>]) -> Option<&Arc<Trusted>> {
        let wanted = believed.iter().find(|issuer| *issuer.issuer == *name)?;
        let mut all = self.now.iter().chain(&self.before);
        all.find(|trusted| trusted.issuer == *wanted)
    }
}

impl Issuers {
    /// None yet. Keys are read on `runtime`.
    pub fn new(runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            in_force: ArcSwap::default(),
            cache: Cache::default(),
            known: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Puts the issuers of these settings in force, and no others. One whose keys are where they were keeps them. All
    /// others are asked for keys no more, and tokens of theirs believed by calls that go by the plan before, until the
    /// next change.
    pub fn put_in_force(&self, settings: &Settings) {
        let old = self.in_force.load_full();
        let now: Vec<Arc<Trusted>> = settings
            .issuers
            .iter()
            .map(
                |issuer| match old.now.iter().find(|trusted| trusted.issuer == *issuer) {
                    Some(same) => Arc::clone(same),
                    None => {
                        let mut all = old.now.iter().chain(&old.before);
                        let edited = all.find(|trusted| trusted.issuer.issuer == issuer.issuer);
                        Trusted::begin(issuer, edited.map(|trusted| &**trusted), &self.runtime)
                    }
                },
            )
            .collect();
        let is_gone = |trusted: &&Arc<Trusted>| !now.iter().any(|kept| Arc::ptr_eq(kept, trusted));
        let before: Vec<Arc<Trusted>> = old.now.iter().filter(is_gone).cloned().collect();
        before.iter().for_each(|gone| gone.set_aside());
        self.in_force.store(Arc::new(InForce { now, before }));
        old.before.iter().for_each(|gone| gone.retire());
        let is_retired = |trusted: &Arc<Trusted>| old.before.iter().any(|gone| Arc::ptr_eq(gone, trusted));
        self.cache.forget_refusals(is_retired);
    }

    /// What is known of each issuer, in the order of the settings.
    pub fn status(&self) -> Vec<IssuerStatus> {
        self.in_force
            .load()
            .now
            .iter()
            .map(|trusted| trusted.status())
            .collect()
    }

    /// How often tokens were looked at.
    pub fn counts(&self) -> TokenCounts {
        TokenCounts {
            known: self.known.load(Relaxed),
            verified: self.verified.load(Relaxed),
            refused: self.refused.load(Relaxed),
            cached: self.cache.len() as u64,
        }
    }

    /// Verifies a token at a time, in seconds of Unix time, whatever is known of it.
    async fn look(
        &self,
        token: &str,
        believed: &[Arc<Issuer>],
        payer: Payer,
        now: u64,
    ) -> Result<Arc<Verified>, Refusal> {
        let compact = Compact::parse(token)?;
        let name = claims::issuer(&compact.claims)?;
        let issuers = self.in_force.load_full();
        let issuer = issuers.find(name, believed).ok_or(Refusal::Issuer)?;
        if !issuer.issuer.algorithms.contains(&compact.header.algorithm) {
            return Err(Refusal::Algorithm);
        }
        if let KeySource::Review(review) = &issuer.issuer.keys {
            // Before anybody is asked: what is known to be no good costs nobody else anything.
            let checked = claims::check(compact.claims, &issuer.issuer, now)?;
            let audiences = match issuer.review(payer, review, token, &checked).await {
                Ok(audiences) => audiences,
                Err(refusal) => {
                    if !refusal.is_outage() {
                        self.cache.refuse(Digest::of(token), refusal, issuer, now);
                    }
                    return Err(refusal);
                }
            };
            let until = now.saturating_add(review.max_age.as_secs());
            let proof = Proof::Review { until };
            return Ok(self.remember(token, checked, audiences, proof, issuer, now));
        }
        let key = issuer.key(&compact.header).await?;
        if let Err(refusal) = key.verify(compact.message, compact.signature, compact.header.algorithm) {
            self.cache.refuse(Digest::of(token), refusal, issuer, now);
            return Err(refusal);
        }
        let mut checked = claims::check(compact.claims, &issuer.issuer, now)?;
        let audiences = std::mem::take(&mut checked.audiences);
        Ok(self.remember(token, checked, audiences, Proof::Key(key), issuer, now))
    }

    fn remember(
        &self,
        token: &str,
        checked: Checked,
        audiences: Vec<Arc<str>>,
        proof: Proof,
        issuer: &Arc<Trusted>,
        now: u64,
    ) -> Arc<Verified> {
        let verified = Arc::new(Verified {
            token: Arc::new(checked.token),
            audiences,
            scopes: checked.scopes,
            proof,
            issuer: Arc::clone(issuer),
        });
        // What was withdrawn while it was looked at is found out at the next call.
        self.cache
            .insert(Digest::of(token), Arc::clone(&verified), token.len(), now);
        verified
    }
}

impl Authenticator for Issuers {
    fn known(&self, token: &str, believed: &[Arc<Issuer>]) -> Option<Result<Arc<Verified>, Refusal>> {
        let known = self.cache.get(&Digest::of(token), believed, now());
        if known.is_some() {
            self.known.fetch_add(1, Relaxed);
        }
        known
    }

    fn verify<'a>(&'a self, token: &'a str, believed: &'a [Arc<Issuer>], payer: Payer) -> Verifying<'a> {
        Box::pin(async move {
            let found = self.look(token, believed, payer, now()).await;
            let count = if found.is_ok() { &self.verified } else { &self.refused };
            count.fetch_add(1, Relaxed);
            found
        })
    }

    fn keep<'a>(&'a self, token: &'a str, believed: &'a [Arc<Issuer>], payer: Payer) -> Keeping<'a> {
        Box::pin(self.kept(token, believed, payer))
    }
}

/// What a token claims that was signed with a key of this document, a JSON Web Key Set. Whose key it is, whom the token
/// is for and whether it is in force is not looked at.
pub fn signed_claims(token: &str, keys: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let compact = Compact::parse(token)?;
    let keys = KeySet::parse(keys).map_err(|_| Refusal::NoKeys)?;
    let Header { algorithm, key } = &compact.header;
    let key = keys.find(key.as_deref(), *algorithm)?;
    key.verify(compact.message, compact.signature, *algorithm)?;
    Ok(compact.claims)
}

/// Seconds of Unix time.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

//! Bytes become tokens, and tokens bytes.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::{
    aead::{Aad, NONCE_LEN, Nonce},
    hmac, rand,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{
    MAX_TOKEN, Purpose,
    key::{Fingerprint, Key, KeyId},
};

/// The first byte of every token of this layout.
const VERSION: u8 = 1;
/// Version, key id and nonce.
const HEAD: usize = 1 + KeyId::BYTES + NONCE_LEN;
/// What authenticates a token.
const TAG: usize = 16;

/// The keys in force.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Seals, and opens.
    pub current: Arc<Key>,
    /// Opens what was sealed before the last rotation.
    pub previous: Option<Arc<Key>>,
}

/// Seals and opens. Clones share their keys, which can be replaced at any time.
#[derive(Clone, Debug)]
pub struct Sealer {
    keys: Arc<ArcSwap<Keys>>,
}

/// Why there is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It would be longer than [`MAX_TOKEN`](super::MAX_TOKEN).
    #[error("too long for a token")]
    TooLong,
    /// The system has no randomness.
    #[error("the system has no randomness")]
    NoRandomness,
}

/// Why a token is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsealed {
    /// Longer than [`MAX_TOKEN`](super::MAX_TOKEN).
    #[error("too long for a token")]
    TooLong,
    /// Not sealed by a key in force for this purpose, or changed since.
    #[error("not sealed here for this purpose")]
    Forged,
}

impl Sealer {
    /// With these keys.
    pub fn new(keys: Keys) -> Self {
        Self {
            keys: Arc::new(ArcSwap::from_pointee(keys)),
        }
    }

    /// Replaces the keys, for every clone.
    pub fn replace(&self, keys: Keys) {
        self.keys.store(Arc::new(keys));
    }

    /// The keys in force.
    pub fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    /// The fingerprint of these bytes, by the current key.
    pub fn fingerprint(&self, bytes: &[u8]) -> Fingerprint {
        self.keys.load().current.fingerprint(bytes)
    }

    /// Seals `content`. The token is visible ASCII of `[A-Za-z0-9_-]`.
    pub fn seal(&self, purpose: Purpose, content: &[u8]) -> Result<String, SealError> {
        let length = HEAD + content.len() + TAG;
        if base64::encoded_len(length, false).is_none_or(|length| length > MAX_TOKEN) {
            return Err(SealError::TooLong);
        }
        let key = Arc::clone(&self.keys.load().current);
        let nonce = nonce(&key, purpose, content)?;
        let head = [&[VERSION][..], &key.id().0, &nonce].concat();
        let mut sealed = content.to_vec();
        key.cipher
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated(purpose, key.id())),
                &mut sealed,
            )
            // It refuses only what is longer than any token.
            .map_err(|_| SealError::TooLong)?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode([head, sealed].concat()))
    }

    /// Opens a token that was sealed for `purpose`.
    pub fn open(&self, purpose: Purpose, token: &str) -> Result<Vec<u8>, Unsealed> {
        if token.len() > MAX_TOKEN {
            return Err(Unsealed::TooLong);
        }
        // The decoder takes one spelling of the bytes only, so that a token has no second form.
        let token = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| Unsealed::Forged)?;
        let (head, sealed) = token.split_first_chunk::<HEAD>().ok_or(Unsealed::Forged)?;
        let keys = self.keys.load();
        // Either key is tried where their ids are equal by chance.
        [Some(&keys.current), keys.previous.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|key| open_with(key, purpose, head, sealed))
            .ok_or(Unsealed::Forged)
    }
}

fn open_with(key: &Key, purpose: Purpose, head: &[u8; HEAD], sealed: &[u8]) -> Option<Vec<u8>> {
    let (&version, rest) = head.split_first()?;
    let (id, nonce) = rest.split_first_chunk::<{ KeyId::BYTES }>()?;
    if version != VERSION || *id != key.id().0 {
        return None;
    }
    let mut content = sealed.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let aad = Aad::from(associated(purpose, key.id()));
    let length = key.cipher.open_in_place(nonce, aad, &mut content).ok()?.len();
    content.truncate(length);
    Some(content)
}

/// What is authenticated with the content.
fn associated(purpose: Purpose, key: KeyId) -> [u8; 2 + KeyId::BYTES] {
    let [a, b, c, d] = key.0;
    [VERSION, purpose.byte(), a, b, c, d]
}

/// Random; of the content where the token is to be the same each time, which this cipher allows for.
fn nonce(key: &Key, purpose: Purpose, content: &[u8]) -> Result<[u8; NONCE_LEN], SealError> {
    let mut nonce = [0; NONCE_LEN];
    if purpose.is_stable() {
        let mut digest = hmac::Context::with_key(&key.nonces);
        digest.update(&[purpose.byte()]);
        digest.update(content);
        let digest = digest.sign();
        nonce.copy_from_slice(&digest.as_ref()[..NONCE_LEN]);
    } else {
        rand::fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
    }
    Ok(nonce)
}

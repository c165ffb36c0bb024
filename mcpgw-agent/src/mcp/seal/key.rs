//! A secret key, and what is derived from it.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hmac, rand,
};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// A key, prepared. It never shows its bytes.
pub struct Key {
    id: KeyId,
    pub(super) cipher: LessSafeKey,
    /// Makes the nonces of stable tokens.
    pub(super) nonces: hmac::Key,
    /// Makes the fingerprints.
    fingerprints: LessSafeKey,
}

/// What stands for bytes that are not to be told: the same for the same bytes under the same key, and without the key
/// nobody can find the bytes by trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; Self::BYTES]);

impl Fingerprint {
    const BYTES: usize = 16;
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Tells keys apart, and nothing else about them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub(super) [u8; Self::BYTES]);

/// The bytes of a key are not [`KEY_BYTES`] many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key has {KEY_BYTES} bytes")]
pub struct InvalidKey;

impl KeyId {
    pub(super) const BYTES: usize = 4;
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Key {
    /// From its secret bytes.
    pub fn new(secret: &[u8]) -> Result<Self, InvalidKey> {
        if secret.len() != KEY_BYTES {
            return Err(InvalidKey);
        }
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = |label: &str| hmac::sign(&secret, label.as_bytes());
        let cipher = |label: &str| {
            let key = UnboundKey::new(&AES_256_GCM_SIV, derived(label).as_ref());
            key.map(LessSafeKey::new).map_err(|_| InvalidKey)
        };
        let id = derived("mcpgw seal id")
            .as_ref()
            .first_chunk()
            .copied()
            .ok_or(InvalidKey)?;
        Ok(Self {
            id: KeyId(id),
            cipher: cipher("mcpgw seal cipher")?,
            nonces: hmac::Key::new(hmac::HMAC_SHA256, derived("mcpgw seal nonces").as_ref()),
            fingerprints: cipher("mcpgw fingerprints")?,
        })
    }

    /// Secret bytes for a new key. Fails only if the system has no randomness.
    pub fn generate() -> Result<[u8; KEY_BYTES], Unspecified> {
        let mut secret = [0; KEY_BYTES];
        rand::fill(&mut secret)?;
        Ok(secret)
    }

    /// The fingerprint of these bytes: the tag that AES-256-GCM-SIV gives them beside an empty text. Under one nonce that
    /// tag is a pseudorandom function of them (RFC 8452, section 9), at a fifteenth of what HMAC-SHA256 of 64 KiB costs.
    pub fn fingerprint(&self, bytes: &[u8]) -> Fingerprint {
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let tag = self
            .fingerprints
            .seal_in_place_separate_tag(nonce, Aad::from(bytes), &mut []);
        // Only more bytes than any request may have are refused.
        let tag = tag.ok().and_then(|tag| tag.as_ref().first_chunk().copied());
        Fingerprint(tag.unwrap_or_default())
    }

    /// What tells it from other keys.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

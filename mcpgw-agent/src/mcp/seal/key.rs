//! A secret key, and what is derived from it.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, LessSafeKey, UnboundKey},
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
    fingerprints: hmac::Key,
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
        let cipher = UnboundKey::new(&AES_256_GCM_SIV, derived("mcpgw seal cipher").as_ref());
        let id = derived("mcpgw seal id")
            .as_ref()
            .first_chunk()
            .copied()
            .ok_or(InvalidKey)?;
        Ok(Self {
            id: KeyId(id),
            cipher: LessSafeKey::new(cipher.map_err(|_| InvalidKey)?),
            nonces: hmac::Key::new(hmac::HMAC_SHA256, derived("mcpgw seal nonces").as_ref()),
            fingerprints: hmac::Key::new(hmac::HMAC_SHA256, derived("mcpgw fingerprints").as_ref()),
        })
    }

    /// Secret bytes for a new key. Fails only if the system has no randomness.
    pub fn generate() -> Result<[u8; KEY_BYTES], Unspecified> {
        let mut secret = [0; KEY_BYTES];
        rand::fill(&mut secret)?;
        Ok(secret)
    }

    /// The fingerprint of these bytes: HMAC-SHA256, cut to half.
    pub fn fingerprint(&self, bytes: &[u8]) -> Fingerprint {
        let whole = hmac::sign(&self.fingerprints, bytes);
        // HMAC-SHA256 has 32 bytes.
        Fingerprint(whole.as_ref().first_chunk().copied().unwrap_or_default())
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

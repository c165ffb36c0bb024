//! A secret key, and what is derived from it.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, AES_256_GCM_SIV, Aad, Algorithm, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
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
    /// Make the fingerprints.
    digests: LessSafeKey,
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
        let derived_hmac = |label: &str| hmac::Key::new(hmac::HMAC_SHA256, derived(label).as_ref());
        let cipher = |algorithm: &'static Algorithm, label: &str| {
            let key = UnboundKey::new(algorithm, derived(label).as_ref());
            key.map(LessSafeKey::new).map_err(|_| InvalidKey)
        };
        let id = derived("mcpgw seal id")
            .as_ref()
            .first_chunk()
            .copied()
            .ok_or(InvalidKey)?;
        Ok(Self {
            id: KeyId(id),
            cipher: cipher(&AES_256_GCM_SIV, "mcpgw seal cipher")?,
            nonces: derived_hmac("mcpgw seal nonces"),
            digests: cipher(&AES_256_GCM, "mcpgw digests")?,
            fingerprints: derived_hmac("mcpgw fingerprints"),
        })
    }

    /// Secret bytes for a new key. Fails only if the system has no randomness.
    pub fn generate() -> Result<[u8; KEY_BYTES], Unspecified> {
        let mut secret = [0; KEY_BYTES];
        rand::fill(&mut secret)?;
        Ok(secret)
    }

    /// The fingerprint of these bytes: HMAC-SHA256 of their GMAC, which alone would be of no use under one nonce: who saw
    /// several could find the key. Nobody sees any. What is left of it is a universal hash, and a pseudorandom function of
    /// such a hash is one of the bytes, at a fortieth of what HMAC-SHA256 of 64 KiB costs.
    pub fn fingerprint(&self, bytes: &[u8]) -> Fingerprint {
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let digest = self
            .digests
            .seal_in_place_separate_tag(nonce, Aad::from(bytes), &mut []);
        // Only more bytes than any request may have are refused.
        let tag = digest.map(|digest| hmac::sign(&self.fingerprints, digest.as_ref()));
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

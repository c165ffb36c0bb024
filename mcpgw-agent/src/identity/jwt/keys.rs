//! The keys of an issuer (RFC 7517), each for what it may verify.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Refusal,
    limits::{MAX_KEY_ID_BYTES, MAX_KEYS, RSA_BITS},
};
use crate::resources::Algorithm;

/// A public key.
pub(super) struct Key {
    id: Option<Box<str>>,
    public: Public,
    /// The one algorithm that it is for, where its document says so.
    algorithm: Option<Algorithm>,
    verifying: DecodingKey,
    /// Its issuer no longer has it.
    withdrawn: AtomicBool,
}

/// The numbers of a public key.
#[derive(Clone, PartialEq, Eq)]
enum Public {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Key {
    /// Whether it can verify this algorithm, and may.
    fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let can = match self.public {
            Public::Rsa { .. } => matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
            Public::P256(_) => algorithm == ES256,
            Public::P384(_) => algorithm == ES384,
            Public::Ed25519(_) => algorithm == EdDSA,
        };
        can && self.algorithm.is_none_or(|only| only == algorithm)
    }

    /// Whether its issuer still has it.
    pub(super) fn is_good(&self) -> bool {
        !self.withdrawn.load(Ordering::Acquire)
    }

    /// Verifies a signature.
    pub(super) fn verify(&self, message: &str, signature: &str, algorithm: Algorithm) -> Result<(), Refusal> {
        let algorithm = match algorithm {
            Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::RS384 => jsonwebtoken::Algorithm::RS384,
            Algorithm::RS512 => jsonwebtoken::Algorithm::RS512,
            Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
            Algorithm::PS384 => jsonwebtoken::Algorithm::PS384,
            Algorithm::PS512 => jsonwebtoken::Algorithm::PS512,
            Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::ES384 => jsonwebtoken::Algorithm::ES384,
            Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        };
        match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.verifying, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Refusal::Signature),
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.id == other.id && self.algorithm == other.algorithm && self.public == other.public
    }
}

/// What is known of a set of keys, and what of its document cannot be used.
#[derive(Default)]
pub(super) struct KeySet {
    keys: Vec<Arc<Key>>,
    /// Keys of the document that nothing here can be verified with.
    pub(super) unusable: usize,
}

impl KeySet {
    /// Reads a document. Keys that are for something else, too weak or malformed are counted and left out: an issuer
    /// may have them for others.
    pub(super) fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Document<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }
        let document: Document<'_> = serde_json::from_slice(document)?;
        let found = document.keys.len();
        let keys: Vec<_> = document
            .keys
            .into_iter()
            .take(MAX_KEYS)
            .filter_map(|key| read(key.get()))
            .map(Arc::new)
            .collect();
        match keys.is_empty() {
            true => Err(KeySetError::NoKey),
            false => Ok(Self {
                unusable: found - keys.len(),
                keys,
            }),
        }
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key that a token's header asks for.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&Arc<Key>, Refusal> {
        let named = |key: &&Arc<Key>| id.is_none_or(|id| key.id.as_deref() == Some(id));
        let mut fitting = self.keys.iter().filter(named).filter(|key| key.fits(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) if id.is_none() => Err(Refusal::NoKeyId),
            (Some(_), Some(_)) => Err(Refusal::AmbiguousKey),
            (None, _) if self.keys.iter().any(|key| named(&key)) => Err(Refusal::KeyMismatch),
            (None, _) => Err(Refusal::UnknownKey),
        }
    }

    /// Takes over the keys of the set before that are still in this one, so that what they verified stays verified;
    /// the others of that set are withdrawn.
    pub(super) fn succeed(mut self, before: &Self) -> Self {
        for key in &mut self.keys {
            if let Some(same) = before.keys.iter().find(|other| other.is(key)) {
                *key = Arc::clone(same);
            }
        }
        for key in &before.keys {
            if !self.keys.iter().any(|kept| Arc::ptr_eq(kept, key)) {
                key.withdrawn.store(true, Ordering::Release);
            }
        }
        self
    }

    /// The same keys, which are good when these are withdrawn.
    pub(super) fn anew(&self) -> Self {
        let anew = |key: &Arc<Key>| {
            Arc::new(Key {
                id: key.id.clone(),
                public: key.public.clone(),
                algorithm: key.algorithm,
                verifying: key.verifying.clone(),
                withdrawn: AtomicBool::new(false),
            })
        };
        Self {
            keys: self.keys.iter().map(anew).collect(),
            unusable: self.unusable,
        }
    }

    /// Withdraws every key.
    pub(super) fn withdraw(&self) {
        for key in &self.keys {
            key.withdrawn.store(true, Ordering::Release);
        }
    }
}

/// Why a document gives no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeySetError {
    /// It is no such document.
    #[error("it is no JSON Web Key Set: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Nothing in it can be used.
    #[error("it has no key that tokens can be verified with")]
    NoKey,
}

/// A key as a document has it. One that has a member twice is none.
#[derive(Deserialize)]
struct Written<'a> {
    kty: &'a str,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<&'a str>,
    n: Option<&'a str>,
    e: Option<&'a str>,
    x: Option<&'a str>,
    y: Option<&'a str>,
    /// Of a private or secret key, which has no business to be published.
    d: Option<&'a RawValue>,
    k: Option<&'a RawValue>,
}

fn read(key: &str) -> Option<Key> {
    let key: Written<'_> = serde_json::from_str(key).ok()?;
    let published = key.d.is_none() && key.k.is_none();
    let signs = key.usage.as_deref().is_none_or(|usage| usage == "sig");
    let verifies = key
        .key_ops
        .as_ref()
        .is_none_or(|list| list.iter().any(|op| op == "verify"));
    if !published || !signs || !verifies {
        return None;
    }
    let algorithm = match key.alg.as_deref() {
        Some(name) => Some(Algorithm::parse(name)?),
        None => None,
    };
    let id = match key.kid {
        Some(id) if (1..=MAX_KEY_ID_BYTES).contains(&id.len()) => Some(id.into()),
        Some(_) => return None,
        None => None,
    };
    let (public, verifying) = match (key.kty, key.crv) {
        ("RSA", _) => rsa(bytes(key.n?)?, bytes(key.e?)?)?,
        ("EC", Some("P-256")) => {
            let point = point(key.x?, key.y?, 32)?;
            let verifying = DecodingKey::from_ec_der(&point);
            (Public::P256(point), verifying)
        }
        ("EC", Some("P-384")) => {
            let point = point(key.x?, key.y?, 48)?;
            let verifying = DecodingKey::from_ec_der(&point);
            (Public::P384(point), verifying)
        }
        ("OKP", Some("Ed25519")) => {
            let x = bytes(key.x?).filter(|x| x.len() == 32)?;
            let verifying = DecodingKey::from_ed_der(&x);
            (Public::Ed25519(x), verifying)
        }
        _ => return None,
    };
    let key = Key {
        id,
        public,
        algorithm,
        verifying,
        withdrawn: AtomicBool::new(false),
    };
    // One that is for an algorithm which it cannot do is for nothing.
    algorithm.is_none_or(|only| key.fits(only)).then_some(key)
}

fn rsa(modulus: Vec<u8>, exponent: Vec<u8>) -> Option<(Public, DecodingKey)> {
    let significant = |number: Vec<u8>| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        number[zeros..].to_vec()
    };
    let (modulus, exponent) = (significant(modulus), significant(exponent));
    let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
    // An even one is no exponent, and by 1 everything is signed.
    let good_exponent = exponent.last()? % 2 == 1 && exponent != [1] && exponent.len() <= 4;
    if !RSA_BITS.contains(&bits) || !good_exponent {
        return None;
    }
    let verifying = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
    Some((Public::Rsa { modulus, exponent }, verifying))
}

/// An uncompressed point, whose coordinates have the length of their curve.
fn point(x: &str, y: &str, length: usize) -> Option<Vec<u8>> {
    let (x, y) = (bytes(x)?, bytes(y)?);
    (x.len() == length && y.len() == length).then(|| [&[4][..], &x, &y].concat())
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

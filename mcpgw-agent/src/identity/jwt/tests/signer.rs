//! Makes keys and tokens, also bad ones.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
        RsaEncoding, RsaKeyPair,
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A private key with its id.
pub(crate) struct Signer {
    pub(crate) id: &'static str,
    key: Private,
}

enum Private {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    pub(crate) fn rsa(id: &'static str) -> Self {
        let key = Private::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
        Self { id, key }
    }

    pub(crate) fn p256(id: &'static str) -> Self {
        let key = Private::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
        Self { id, key }
    }

    pub(crate) fn p384(id: &'static str) -> Self {
        let key = Private::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap());
        Self { id, key }
    }

    pub(crate) fn ed25519(id: &'static str) -> Self {
        let key = Private::Ed25519(Ed25519KeyPair::generate().unwrap());
        Self { id, key }
    }

    /// The public key as its bytes: what a verifier could mistake for a secret.
    pub(crate) fn public(&self) -> Vec<u8> {
        match &self.key {
            Private::Rsa(key) => key.public_key().as_ref().to_vec(),
            Private::P256(key) | Private::P384(key) => key.public_key().as_ref().to_vec(),
            Private::Ed25519(key) => key.public_key().as_ref().to_vec(),
        }
    }

    /// The public key as an issuer publishes it.
    pub(crate) fn jwk(&self) -> Value {
        let (id, public) = (self.id, self.public());
        match &self.key {
            // PKCS #1: two headers, a zero byte, the modulus; behind it 65537.
            Private::Rsa(_) => {
                json!({"kty": "RSA", "kid": id, "use": "sig", "n": encode(&public[9..265]), "e": "AQAB"})
            }
            Private::P256(_) => {
                json!({"kty": "EC", "crv": "P-256", "kid": id, "x": encode(&public[1..33]), "y": encode(&public[33..])})
            }
            Private::P384(_) => {
                json!({"kty": "EC", "crv": "P-384", "kid": id, "x": encode(&public[1..49]), "y": encode(&public[49..])})
            }
            Private::Ed25519(_) => json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": encode(public)}),
        }
    }

    /// A token, its header as usual.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let algorithm = match self.key {
            Private::Rsa(_) => "RS256",
            Private::P256(_) => "ES256",
            Private::P384(_) => "ES384",
            Private::Ed25519(_) => "EdDSA",
        };
        self.with_header(&json!({"alg": algorithm, "kid": self.id, "typ": "JWT"}), claims)
    }

    /// A token with this header, signed as it says, or else by the key's usual algorithm.
    pub(crate) fn with_header(&self, header: &Value, claims: &Value) -> String {
        self.of_texts(
            &header.to_string(),
            &claims.to_string(),
            header["alg"].as_str().unwrap_or_default(),
        )
    }

    pub(crate) fn of_texts(&self, header: &str, claims: &str, algorithm: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.sign(message.as_bytes(), algorithm);
        format!("{message}.{}", encode(signature))
    }

    pub(crate) fn sign(&self, message: &[u8], algorithm: &str) -> Vec<u8> {
        match &self.key {
            Private::Rsa(key) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &SystemRandom::new(), message, &mut signature)
                    .unwrap();
                signature
            }
            Private::P256(key) | Private::P384(key) => {
                key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
            }
            Private::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }
}

/// A token with a symmetric signature: HMAC-SHA-256 with any bytes as its secret.
pub(crate) fn hs256(secret: &[u8], header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", encode(tag))
}

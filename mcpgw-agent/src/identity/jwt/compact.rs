//! A token as it was sent: header, claims and signature, in base64url with dots between (RFC 7515, 7519).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{
    Refusal, json,
    limits::{MAX_KEY_ID_BYTES, MAX_TOKEN_BYTES},
};
use crate::resources::Algorithm;

/// What of a header counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key: Option<String>,
}

/// A token whose form is right; nothing of it is proven.
pub(super) struct Compact<'a> {
    pub(super) header: Header,
    pub(super) claims: Map<String, Value>,
    /// What is signed.
    pub(super) message: &'a str,
    /// The signature, as it was sent.
    pub(super) signature: &'a str,
}

/// Headers by which a token would say what it is to be verified with.
const OWN_KEYS: [&str; 4] = ["jwk", "jku", "x5u", "x5c"];
/// Types of tokens for access. Others have a purpose of their own, and must not be taken for one.
const TYPES: [&str; 4] = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

impl<'a> Compact<'a> {
    /// Takes a token apart. Every part must be in the one spelling that base64url without padding has for it, so
    /// that no two texts are the same token.
    pub(super) fn parse(token: &'a str) -> Result<Self, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(Refusal::Malformed)?;
        // A dot in the claims is none of base64url, nor is it in the header.
        let part = |part| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed);
        let (header, claims) = (part(header)?, part(claims)?);
        let header = Header::read(&json::object(&header).ok_or(Refusal::Header)?)?;
        // An unsigned token was told apart by its header.
        if part(signature)?.is_empty() {
            return Err(Refusal::Malformed);
        }
        Ok(Self {
            header,
            claims: json::object(&claims).ok_or(Refusal::Claims)?,
            message,
            signature,
        })
    }
}

impl Header {
    fn read(header: &Map<String, Value>) -> Result<Self, Refusal> {
        // RFC 7515: what is critical must be understood; nothing that could be is known here. An unencoded payload
        // (RFC 7797) would be signed in another way.
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(Refusal::Critical);
        }
        if OWN_KEYS.iter().any(|name| header.contains_key(*name)) {
            return Err(Refusal::OwnKey);
        }
        // A token in a token.
        if header.contains_key("cty") || header.contains_key("enc") {
            return Err(Refusal::Type);
        }
        match header.get("typ") {
            None => {}
            Some(Value::String(kind)) if TYPES.contains(&kind.to_ascii_lowercase().as_str()) => {}
            Some(Value::String(_)) => return Err(Refusal::Type),
            Some(_) => return Err(Refusal::Header),
        }
        let algorithm = match header.get("alg") {
            Some(Value::String(name)) => Algorithm::parse(name).ok_or(Refusal::Algorithm)?,
            Some(_) => return Err(Refusal::Header),
            None => return Err(Refusal::Algorithm),
        };
        let key = match header.get("kid") {
            None => None,
            Some(Value::String(id)) if (1..=MAX_KEY_ID_BYTES).contains(&id.len()) => Some(id.clone()),
            Some(_) => return Err(Refusal::Header),
        };
        Ok(Self { algorithm, key })
    }
}

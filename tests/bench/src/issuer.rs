//! Keys of an issuer, and a token that it signed.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::json;

/// `iss` of its tokens.
const ISSUER: &str = "https://issuer.bench";
/// For how long the token is good.
const GOOD_FOR: Duration = Duration::from_secs(24 * 3600);

/// Writes `jwks.json` and `token`.
pub fn make(directory: &Path) -> Result<()> {
    // P-256, as rcgen chooses.
    let key = KeyPair::generate()?;
    let (x, y) = key
        .der_bytes()
        .strip_prefix(&[4])
        .and_then(|point| point.split_at_checked(32))
        .context("a key that is no point")?;
    let encoded = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let public = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "bench", "x": encoded(x), "y": encoded(y)});
    fs::write(directory.join("jwks.json"), json!({ "keys": [public] }).to_string())?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let claims = json!({
        "iss": ISSUER, "sub": "load", "aud": "mcpgw", "groups": ["bench"], "team": {"name": "bench"},
        "iat": now.as_secs(), "exp": (now + GOOD_FOR).as_secs(),
    });
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("bench".to_owned());
    let token = jsonwebtoken::encode(
        &header,
        &claims,
        &EncodingKey::from_ec_pem(key.serialize_pem().as_bytes())?,
    )?;
    fs::write(directory.join("token"), token)?;
    Ok(())
}

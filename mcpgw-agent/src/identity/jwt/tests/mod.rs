//! Tokens, with real keys.
//!
//! ```text
//! signer   makes keys and tokens, also bad ones
//! attacks  what is tried against a verifier, and the reason that each is refused by
//! keys     which keys of a document are used
//! issuers  keys that change, go and cannot be read
//! review   an issuer that is asked about each token
//! web      issuers that are asked over HTTP and HTTPS
//! ```

mod attacks;
mod issuers;
mod keep;
mod keys;
pub(crate) mod review;
pub(crate) mod signer;
mod web;

use std::{path::PathBuf, sync::Arc};

use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::*;
use crate::{
    mcp::seal::Owner,
    resources::{self, Algorithm, KeySource},
};
use signer::Signer;

const ISSUER: &str = "https://issuer.example";

/// What a server of the name `localhost` needs for TLS, and its certificate as PEM for who is to trust it.
fn localhost() -> (tokio_rustls::TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (Arc::new(config).into(), made.cert.pem())
}

/// An issuer with its keys in a file.
fn issuer(name: &str, keys: PathBuf) -> resources::Issuer {
    resources::Issuer {
        issuer: name.into(),
        keys: KeySource::File(keys),
        key_token: None,
        max_key_age: std::time::Duration::from_secs(3600),
        authorities: None,
        audiences: vec!["mcpgw".into()],
        algorithms: Algorithm::ALL.to_vec(),
        claims: resources::ClaimNames::default(),
        clock_skew: std::time::Duration::from_secs(30),
        kubernetes: false,
        oauth: None,
    }
}

fn settings(issuers: Vec<resources::Issuer>) -> Settings {
    Settings {
        issuers: issuers.into_iter().map(Arc::new).collect(),
        ..Settings::default()
    }
}

fn in_force(list: Vec<resources::Issuer>) -> Arc<Issuers> {
    let issuers = Issuers::new(Handle::current());
    issuers.put_in_force(&settings(list));
    issuers
}

/// As who goes by the settings in force.
impl Issuers {
    pub(super) fn believed(&self) -> Vec<Arc<resources::Issuer>> {
        let in_force = self.in_force.load();
        in_force.now.iter().map(|trusted| Arc::clone(&trusted.issuer)).collect()
    }

    pub(super) fn known(&self, token: &str) -> Option<Result<Arc<Verified>, Refusal>> {
        Authenticator::known(self, token, &self.believed())
    }

    pub(super) async fn verify(&self, token: &str) -> Result<Arc<Verified>, Refusal> {
        self.verify_for(token, Payer::Workload(Owner::of("agents/ci"))).await
    }

    pub(super) async fn verify_for(&self, token: &str, payer: Payer) -> Result<Arc<Verified>, Refusal> {
        Authenticator::verify(self, token, &self.believed(), payer).await
    }
}

/// The claims of a good token.
fn claims() -> Value {
    let now = now();
    json!({"iss": ISSUER, "sub": "alice", "aud": "mcpgw", "exp": now + 600, "nbf": now - 10, "iat": now - 10})
}

/// The good claims with one changed, or left out where it is null.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

fn document(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

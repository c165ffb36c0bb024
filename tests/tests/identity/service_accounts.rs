//! Tokens of ServiceAccounts, as a kubelet projects them into pods, of an issuer whose keys are in a file.

use std::{fs, path::Path, time::SystemTime};

use anyhow::{Context, Result};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// What `iss` of the tokens says.
pub const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";
/// For whom they are.
const AUDIENCE: &str = "mcpgw";
/// How long a kubelet's tokens are good by default, in seconds.
const LIFETIME: u64 = 3600;

/// Who signs them.
pub struct Cluster(Ed25519KeyPair);

impl Cluster {
    /// A new one, with the document of its keys at `keys`.
    pub fn new(keys: &Path) -> Result<Self> {
        let cluster = Self(Ed25519KeyPair::generate().context("make a key")?);
        let public = BASE64_URL_SAFE_NO_PAD.encode(cluster.0.public_key());
        let document = json!({
            "keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "cluster", "x": public}],
        });
        fs::write(keys, document.to_string()).with_context(|| format!("write {}", keys.display()))?;
        Ok(cluster)
    }

    /// The token of a pod of the ServiceAccount `namespace`/`account`.
    pub fn token(&self, namespace: &str, account: &str, pod: &str) -> Result<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let uid = "6f1c2b3a-4d5e-4f70-8a9b-0c1d2e3f4a5b";
        let claims = json!({
            "iss": CLUSTER, "aud": [AUDIENCE], "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "iat": now, "nbf": now, "exp": now + LIFETIME, "jti": uid,
            "kubernetes.io": {
                "namespace": namespace,
                "serviceaccount": {"name": account, "uid": uid},
                "pod": {"name": pod, "uid": uid},
                "node": {"name": "node", "uid": uid},
            },
        });
        let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(json!({"alg": "EdDSA", "kid": "cluster"})), part(claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes()));
        Ok(format!("{message}.{signature}"))
    }
}

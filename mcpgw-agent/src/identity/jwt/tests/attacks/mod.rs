//! What is tried against a verifier, and the reason that each is refused by. Each token differs from a good one in
//! what its name says.

mod claims;
mod form;
mod headers;

use super::{signer::encode, *};

struct Scene {
    issuers: Arc<Issuers>,
    rsa: Signer,
    p256: Signer,
    p384: Signer,
    ed25519: Signer,
    other: Signer,
    _dir: tempfile::TempDir,
}

/// Two issuers: one with a key of each kind, and another with a key of its own. A third is a cluster.
fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let (rsa, p256, p384, ed25519) = (
        Signer::rsa("rsa"),
        Signer::p256("p256"),
        Signer::p384("p384"),
        Signer::ed25519("ed25519"),
    );
    let other = Signer::p256("other");
    let mut pinned = rsa.jwk();
    pinned["kid"] = "only-rs256".into();
    pinned["alg"] = "RS256".into();
    let mut encrypting = p256.jwk();
    encrypting["kid"] = "enc".into();
    encrypting["use"] = "enc".into();
    let weak = json!({"kty": "RSA", "kid": "weak", "n": encode([0xff; 128]), "e": "AQAB"});
    let mut twin = ed25519.jwk();
    twin["kid"] = "twin".into();
    let second = Signer::ed25519("twin").jwk();
    let keys = [
        rsa.jwk(),
        p256.jwk(),
        p384.jwk(),
        ed25519.jwk(),
        pinned,
        encrypting,
        weak,
        twin,
        second,
    ];
    let path = |name: &str, keys: &[Value]| {
        let path = dir.path().join(name);
        std::fs::write(&path, document(keys)).unwrap();
        path
    };
    let mut cluster = issuer("https://cluster.example", path("cluster", &[p384.jwk()]));
    cluster.kubernetes = true;
    let mut strict = issuer("https://strict.example", path("strict", &[rsa.jwk(), p256.jwk()]));
    strict.algorithms = vec![Algorithm::PS256];
    let issuers = in_force(vec![
        issuer(ISSUER, path("keys", &keys)),
        issuer("https://other.example", path("other", &[other.jwk()])),
        cluster,
        strict,
    ]);
    Scene {
        issuers,
        rsa,
        p256,
        p384,
        ed25519,
        other,
        _dir: dir,
    }
}

impl Scene {
    async fn look(&self, token: &str) -> Result<Arc<Verified>, Refusal> {
        let verified = self
            .issuers
            .look(token, &self.issuers.believed(), Payer::Agent, now())
            .await?;
        verified.is_for(&Place::default())?;
        Ok(verified)
    }

    /// The reason by which a token is refused.
    async fn refusal(&self, token: &str) -> Option<Refusal> {
        self.look(token).await.err()
    }
}

#[tokio::test]
async fn a_good_token_of_every_algorithm_is_believed() {
    let scene = scene();
    for (signer, algorithms) in [
        (&scene.rsa, &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..]),
        (&scene.p256, &["ES256"]),
        (&scene.p384, &["ES384"]),
        (&scene.ed25519, &["EdDSA"]),
    ] {
        for algorithm in algorithms {
            let header = json!({"alg": algorithm, "kid": signer.id, "typ": "at+jwt"});
            let verified = scene.look(&signer.with_header(&header, &claims())).await;
            let verified = verified.unwrap_or_else(|refusal| panic!("{algorithm}: {refusal}"));
            assert_eq!((&*verified.token.issuer, &*verified.token.subject), (ISSUER, "alice"));
        }
    }
}

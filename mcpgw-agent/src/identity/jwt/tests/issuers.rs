//! Keys that change, go and cannot be read.

use std::time::Duration;

use super::*;
use crate::waiting::until;

struct File {
    dir: tempfile::TempDir,
}

impl File {
    fn with(keys: &[Value]) -> Self {
        let file = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        file.write(keys);
        file
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    fn write(&self, keys: &[Value]) {
        let next = self.dir.path().join("next");
        std::fs::write(&next, document(keys)).unwrap();
        std::fs::rename(next, self.path()).unwrap();
    }
}

#[tokio::test]
async fn a_verified_token_is_known_until_its_key_goes() {
    let (old, new) = (Signer::p256("old"), Signer::p256("new"));
    let file = File::with(&[old.jwk()]);
    let issuers = in_force(vec![issuer(ISSUER, file.path())]);
    let (token, other) = (old.token(&claims()), new.token(&claims()));
    assert!(issuers.known(&token).is_none());
    let first = issuers.verify(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &issuers.known(&token).unwrap().unwrap()));

    // A key more withdraws none.
    file.write(&[old.jwk(), new.jwk()]);
    until("the new key", async || issuers.verify(&other).await.is_ok()).await;
    assert!(Arc::ptr_eq(&first, &issuers.known(&token).unwrap().unwrap()));

    file.write(&[new.jwk()]);
    until("the old key to go", async || issuers.known(&token).is_none()).await;
    assert_eq!(issuers.verify(&token).await.err(), Some(Refusal::UnknownKey));
    assert!(issuers.known(&other).unwrap().is_ok());
}

#[tokio::test]
async fn the_same_id_with_another_key_is_another_key() {
    let (old, new) = (Signer::p256("k"), Signer::p256("k"));
    let file = File::with(&[old.jwk()]);
    let issuers = in_force(vec![issuer(ISSUER, file.path())]);
    let token = old.token(&claims());
    assert!(issuers.verify(&token).await.is_ok());
    file.write(&[new.jwk()]);
    until("the key to be replaced", async || issuers.known(&token).is_none()).await;
    assert_eq!(issuers.verify(&token).await.err(), Some(Refusal::Signature));
}

#[tokio::test]
async fn an_expired_token_is_refused_although_it_is_known() {
    let signer = Signer::ed25519("k");
    let file = File::with(&[signer.jwk()]);
    let mut one = issuer(ISSUER, file.path());
    one.clock_skew = Duration::ZERO;
    let issuers = in_force(vec![one]);
    let token = signer.token(&with("exp", (now() + 2).into()));
    assert!(issuers.verify(&token).await.is_ok());
    until("its end", async || {
        matches!(issuers.known(&token), Some(Err(Refusal::Expired)))
    })
    .await;
    assert_eq!(issuers.verify(&token).await.err(), Some(Refusal::Expired));
}

#[tokio::test]
async fn an_issuer_that_is_gone_or_changed_is_believed_no_more() {
    let signer = Signer::ed25519("k");
    let file = File::with(&[signer.jwk()]);
    let one = issuer(ISSUER, file.path());
    let issuers = in_force(vec![one.clone()]);
    let token = signer.token(&claims());
    let first = issuers.verify(&token).await.unwrap();
    issuers.put_in_force(&settings(vec![one.clone()]));
    assert!(Arc::ptr_eq(&first, &issuers.known(&token).unwrap().unwrap()));

    let mut changed = one;
    changed.audiences = vec!["other".into()];
    issuers.put_in_force(&settings(vec![changed]));
    assert!(issuers.known(&token).is_none());
    let again = issuers.verify(&token).await.unwrap();
    assert_eq!(again.is_for(&Place::default()), Err(Refusal::Audience));

    issuers.put_in_force(&settings(vec![]));
    assert!(issuers.known(&token).is_none());
    assert_eq!(issuers.verify(&token).await.err(), Some(Refusal::Issuer));
    assert_eq!(issuers.status(), []);
}

#[tokio::test]
async fn keys_that_cannot_be_read_are_good_for_a_while_and_then_closed() {
    let signer = Signer::ed25519("k");
    let file = File::with(&[signer.jwk()]);
    let mut one = issuer(ISSUER, file.path());
    one.max_key_age = Duration::from_secs(4);
    let issuers = in_force(vec![one]);
    let (known, unseen) = (signer.token(&claims()), signer.token(&with("sub", "bob".into())));
    assert!(issuers.verify(&known).await.is_ok());
    std::fs::write(file.path(), "no keys").unwrap();
    until("the failure", async || issuers.status()[0].error.is_some()).await;
    // The last good ones still verify.
    assert!(issuers.known(&known).unwrap().is_ok() && issuers.verify(&unseen).await.is_ok());
    until("their end", async || issuers.status()[0].state == "KeysTooOld").await;
    assert_eq!(issuers.known(&known).unwrap().err(), Some(Refusal::KeysTooOld));
    let third = signer.token(&with("sub", "carol".into()));
    assert_eq!(issuers.verify(&third).await.err(), Some(Refusal::KeysTooOld));
    let error = issuers.status()[0].error.clone().unwrap();
    assert!(error.contains("no JSON Web Key Set"), "{error}");
    file.write(&[signer.jwk()]);
    until("the keys to be back", async || issuers.verify(&third).await.is_ok()).await;
    assert_eq!(issuers.status()[0].error, None);
}

#[tokio::test]
async fn an_issuer_whose_keys_were_never_read_is_closed_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let issuers = in_force(vec![issuer(ISSUER, dir.path().join("absent"))]);
    let token = Signer::ed25519("k").token(&claims());
    assert_eq!(issuers.verify(&token).await.err(), Some(Refusal::NoKeys));
    let status = &issuers.status()[0];
    assert_eq!(
        (status.state.as_str(), status.keys, status.age_seconds),
        ("NoKeys", 0, None)
    );
}

#[tokio::test]
async fn refused_tokens_push_out_no_verified_one_and_are_bounded() {
    let (signer, stranger) = (Signer::ed25519("k"), Signer::ed25519("k"));
    let file = File::with(&[signer.jwk()]);
    let issuers = in_force(vec![issuer(ISSUER, file.path())]);
    let token = signer.token(&claims());
    assert!(issuers.verify(&token).await.is_ok());
    let forged = stranger.token(&claims());
    assert_eq!(issuers.verify(&forged).await.err(), Some(Refusal::Signature));
    assert_eq!(issuers.known(&forged).unwrap().err(), Some(Refusal::Signature));
    let (head, _) = forged.rsplit_once('.').unwrap();
    for n in 0..limits::CACHE_SHARDS * limits::REFUSED_PER_SHARD * 2 {
        let mut signature = [7; 64];
        signature[..8].copy_from_slice(&n.to_le_bytes());
        let token = format!("{head}.{}", super::signer::encode(signature));
        assert_eq!(issuers.verify(&token).await.err(), Some(Refusal::Signature));
    }
    assert!(issuers.known(&token).unwrap().is_ok());
    assert_eq!(issuers.counts().cached, 1);
}

#[tokio::test]
async fn what_is_remembered_of_verified_tokens_is_bounded_in_number_and_bytes() {
    let signer = Signer::ed25519("k");
    let file = File::with(&[signer.jwk()]);
    let issuers = in_force(vec![issuer(ISSUER, file.path())]);
    let padding = "x".repeat(10_000);
    let room = limits::CACHE_SHARDS * limits::CACHED_BYTES_PER_SHARD / 13_000;
    for n in 0..room + room / 2 {
        let mut claims = with("sub", format!("user-{n}").into());
        claims["padding"] = padding.clone().into();
        assert!(issuers.verify(&signer.token(&claims)).await.is_ok());
    }
    let cached = issuers.counts().cached as usize;
    assert!(
        cached <= room + limits::CACHE_SHARDS && cached > room / 2,
        "{cached} of {room}"
    );
}

#[tokio::test]
async fn an_issuer_that_was_edited_keeps_its_last_good_keys_while_it_cannot_be_asked() {
    let signer = Signer::ed25519("k");
    let file = File::with(&[signer.jwk()]);
    let one = issuer(ISSUER, file.path());
    let issuers = in_force(vec![one.clone()]);
    let token = signer.token(&claims());
    assert!(issuers.verify(&token).await.is_ok());

    std::fs::remove_file(file.path()).unwrap();
    let mut edited = one.clone();
    edited.audiences = vec!["other".into(), "mcpgw".into()];
    issuers.put_in_force(&settings(vec![edited.clone()]));
    let verified = issuers.verify(&token).await.unwrap();
    assert!(verified.is_for(&Place::default()).is_ok());
    assert!(issuers.known(&token).unwrap().is_ok(), "and is known from then on");
    until("the failure", async || issuers.status()[0].error.is_some()).await;
    assert_eq!(
        (issuers.status()[0].keys, issuers.status()[0].state.as_str()),
        (1, "Ready")
    );

    // They do not grow younger by it.
    edited.max_key_age = Duration::ZERO;
    issuers.put_in_force(&settings(vec![edited.clone()]));
    assert_eq!(issuers.verify(&token).await.err(), Some(Refusal::KeysTooOld));

    // Keys at another place may be others.
    for elsewhere in [
        resources::Issuer {
            keys: KeySource::File(file.dir.path().join("elsewhere")),
            ..one.clone()
        },
        resources::Issuer {
            authorities: Some(file.dir.path().join("ca")),
            ..one.clone()
        },
        resources::Issuer {
            key_token: Some(file.dir.path().join("token")),
            ..one.clone()
        },
    ] {
        let issuers = in_force(vec![one.clone()]);
        file.write(&[signer.jwk()]);
        until("the keys", async || issuers.verify(&token).await.is_ok()).await;
        std::fs::remove_file(file.path()).unwrap();
        issuers.put_in_force(&settings(vec![elsewhere]));
        assert_eq!(issuers.verify(&token).await.err(), Some(Refusal::NoKeys));
    }
}

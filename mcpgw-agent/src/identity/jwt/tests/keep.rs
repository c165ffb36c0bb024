//! Tokens of open streams, whose issuer is asked about them again and again.

use std::time::{Duration, Instant};

use futures_util::{FutureExt, future::join_all};

use super::{
    limits::{MIN_REVIEW_PAUSE, REVIEWS_PER_CALLER},
    review::{Api, good, token},
    *,
};
use crate::waiting::until;

/// For how long an answer is good here.
const GOOD_FOR: Duration = Duration::from_secs(2);

async fn reviewed(api: &Api) -> Arc<Issuers> {
    let mut issuer = api.issuer();
    let KeySource::Review(review) = &mut issuer.keys else {
        panic!("it is asked about each token")
    };
    review.max_age = GOOD_FOR;
    in_force(vec![issuer])
}

fn payer() -> Payer {
    Payer::Workload(Owner::of("agents/ci"))
}

/// Waits until the API server was asked so often.
async fn until_asked(api: &Api, times: usize) {
    until("the API server is asked", async || api.asked() >= times).await;
}

#[tokio::test]
async fn many_streams_of_one_token_cost_one_review_at_a_time_and_end_together_when_it_is_withdrawn() {
    let api = Api::start().await;
    let (issuers, token) = (reviewed(&api).await, token("a"));
    api.says(&token, good());
    issuers.verify(&token).await.unwrap();
    let (began, believed) = (Instant::now(), issuers.believed());
    let streams = join_all((0..50).map(|_| Authenticator::keep(&*issuers, &token, &believed, payer())));
    let mut streams = std::pin::pin!(streams);
    let renewed = async {
        for times in 2..=5 {
            until_asked(&api, times).await;
            // It never runs out meanwhile.
            assert!(issuers.known(&token).is_some_and(|known| known.is_ok()));
        }
    };
    tokio::select! {
        ended = &mut streams => panic!("{ended:?}"),
        () = renewed => {}
    }
    // Each answer is relied on for half of its time at least, as seconds are counted.
    assert!(began.elapsed() > 3 * (GOOD_FOR / 2 - Duration::from_secs(1)) + 3 * MIN_REVIEW_PAUSE);
    let asked = api.asked();
    api.says(&token, json!({"error": "the pod is gone"}));
    let ended = tokio::time::timeout(Duration::from_secs(30), streams).await.unwrap();
    assert!(ended.iter().all(|refusal| *refusal == Refusal::Denied), "{ended:?}");
    assert!(api.asked() <= asked + 2, "{asked}, {}", api.asked());
    assert_eq!(
        issuers.known(&token).unwrap().err(),
        Some(Refusal::Denied),
        "nor does a call go on with it"
    );
}

#[tokio::test]
async fn streams_of_many_tokens_of_one_caller_all_stay_when_their_reviews_run_out_together() {
    let api = Api::start().await;
    let issuers = reviewed(&api).await;
    let tokens: Vec<String> = (0..20 * REVIEWS_PER_CALLER)
        .map(|number| token(&number.to_string()))
        .collect();
    tokens.iter().for_each(|token| api.says(token, good()));
    // None of them is known: as after a change of the issuer, all are asked about at once.
    let believed = issuers.believed();
    let streams = join_all(
        tokens
            .iter()
            .map(|token| Authenticator::keep(&*issuers, token, &believed, payer())),
    );
    tokio::select! {
        ended = streams => panic!("{ended:?}"),
        () = until_asked(&api, 2 * tokens.len()) => {}
    }
}

#[tokio::test]
async fn a_stream_outlives_an_api_server_that_cannot_be_asked_and_hears_of_it_when_it_can() {
    let api = Api::start().await;
    let (issuers, token) = (reviewed(&api).await, token("a"));
    api.says(&token, good());
    issuers.verify(&token).await.unwrap();
    api.answers(&token, 500, "");
    let believed = issuers.believed();
    let mut stream = Authenticator::keep(&*issuers, &token, &believed, payer());
    tokio::select! {
        ended = &mut stream => panic!("{ended:?}"),
        () = until_asked(&api, 2) => {}
    }
    api.says(&token, json!({}));
    let ended = tokio::time::timeout(Duration::from_secs(30), stream).await;
    assert_eq!(ended.unwrap(), Refusal::Denied);
}

#[tokio::test]
async fn nobody_is_asked_about_a_token_that_a_key_has_signed() {
    let signer = Signer::ed25519("k");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    std::fs::write(&path, document(&[signer.jwk()])).unwrap();
    let issuers = in_force(vec![issuer(ISSUER, path)]);
    let token = signer.token(&claims());
    issuers.verify(&token).await.unwrap();
    let believed = issuers.believed();
    let kept = Authenticator::keep(&*issuers, &token, &believed, payer());
    assert!(kept.now_or_never().is_none());
    assert_eq!(issuers.counts().verified, 1);
}

//! An issuer that is asked about each token: an HTTPS server that answers as the published schema of
//! `authentication.k8s.io/v1` says. The real API server comes with the work on Kubernetes.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls::HandshakeKind;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{
    limits::{REVIEWS_AT_A_TIME, REVIEWS_PER_CALLER},
    *,
};
use crate::{resources::Review, waiting::until};

/// What it needs to be asked.
const OWN: &str = "the-agents-own-token";
const MAX_AGE: u64 = 60;

/// The API server: what it says of each token, and how often it was asked.
pub(crate) struct Api {
    url: String,
    dir: tempfile::TempDir,
    answers: Arc<Mutex<HashMap<String, (u16, String)>>>,
    asked: Arc<AtomicUsize>,
    /// Who came back, and was known.
    resumed: Arc<AtomicUsize>,
    /// Who has it keeps answers back,
    gate: Arc<tokio::sync::Mutex<()>>,
    /// but for that about this token.
    let_through: Arc<Mutex<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Api {
    pub(crate) async fn start() -> Self {
        let (tls, certificate) = localhost();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), certificate).unwrap();
        std::fs::write(dir.path().join("token"), format!("{OWN}\n")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let answers: Arc<Mutex<HashMap<String, (u16, String)>>> = Arc::default();
        let asked = Arc::new(AtomicUsize::new(0));
        let gate = Arc::<tokio::sync::Mutex<()>>::default();
        let (resumed, let_through) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<String>>::default());
        let (said, count, open) = (Arc::clone(&answers), Arc::clone(&asked), Arc::clone(&gate));
        let (again, passes) = (Arc::clone(&resumed), Arc::clone(&let_through));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (said, count, open) = (Arc::clone(&said), Arc::clone(&count), Arc::clone(&open));
                let (tls, again, passes) = (tls.clone(), Arc::clone(&again), Arc::clone(&passes));
                tokio::spawn(async move {
                    let Ok(mut stream) = tls.accept(stream).await else {
                        return;
                    };
                    if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                        again.fetch_add(1, Ordering::Relaxed);
                    }
                    let (head, body) = request(&mut stream).await;
                    count.fetch_add(1, Ordering::Relaxed);
                    if body["spec"]["token"] != **passes.lock().unwrap() {
                        drop(open.lock().await);
                    }
                    let (status, answer) = review(&head, &body, &said.lock().unwrap());
                    let answer = format!(
                        "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{answer}",
                        answer.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self {
            url,
            dir,
            answers,
            asked,
            resumed,
            gate,
            let_through,
            task,
        }
    }

    pub(crate) fn issuer(&self) -> resources::Issuer {
        resources::Issuer {
            keys: KeySource::Review(Review {
                url: self.url.as_str().into(),
                token: self.dir.path().join("token"),
                max_age: Duration::from_secs(MAX_AGE),
            }),
            authorities: Some(self.dir.path().join("ca.pem")),
            kubernetes: true,
            ..issuer(ISSUER, PathBuf::new())
        }
    }

    /// Says this in `status` of a token.
    pub(crate) fn says(&self, token: &str, status: Value) {
        let answer = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "metadata": {"creationTimestamp": null}, "spec": {"token": token}, "status": status,
        });
        self.answers(token, 201, &answer.to_string());
    }

    pub(crate) fn answers(&self, token: &str, status: u16, body: &str) {
        let answer = (status, body.to_owned());
        self.answers.lock().unwrap().insert(token.to_owned(), answer);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn request(stream: &mut (impl AsyncReadExt + Unpin)) -> (String, Value) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if length.is_some_and(|length| length.parse::<usize>().unwrap() == body.len()) {
                return (head, serde_json::from_str(body).unwrap());
            }
        }
        let mut more = [0; 4096];
        let read = stream.read(&mut more).await.unwrap();
        assert!(read > 0, "{text}");
        bytes.extend_from_slice(&more[..read]);
    }
}

/// As the API server does it: who may not ask is refused; who asks for something else is told so.
fn review(head: &str, body: &Value, answers: &HashMap<String, (u16, String)>) -> (u16, String) {
    if !head.contains(&format!("authorization: bearer {OWN}")) {
        return (401, "{}".to_owned());
    }
    let asked = (&body["apiVersion"], &body["kind"], &body["spec"]["audiences"]);
    let line = "post /apis/authentication.k8s.io/v1/tokenreviews http/1.1";
    if !head.starts_with(line)
        || asked
            != (
                &"authentication.k8s.io/v1".into(),
                &"TokenReview".into(),
                &json!(["mcpgw"]),
            )
    {
        return (422, "{}".to_owned());
    }
    let known = body["spec"]["token"].as_str().and_then(|token| answers.get(token));
    known.cloned().unwrap_or((500, "{}".to_owned()))
}

/// A pod's token, told apart by its `jti`. No key of it is known to anybody here.
pub(crate) fn token(id: &str) -> String {
    let now = now();
    Signer::ed25519("unknown").token(&json!({
        "iss": ISSUER, "sub": "system:serviceaccount:agents:ci", "aud": ["mcpgw"], "jti": id,
        "exp": now + 600, "nbf": now - 10, "iat": now - 10,
        "kubernetes.io": {"namespace": "agents", "serviceaccount": {"name": "ci", "uid": "u"}},
    }))
}

pub(crate) fn good() -> Value {
    json!({
        "authenticated": true, "audiences": ["mcpgw"],
        "user": {"username": "system:serviceaccount:agents:ci", "uid": "u", "groups": ["system:authenticated"]},
    })
}

#[tokio::test]
async fn who_asks_the_api_server_believes_it_for_a_while_and_then_asks_again() {
    let api = Api::start().await;
    let issuers = in_force(vec![api.issuer()]);
    let (token, believed, now) = (token("a"), issuers.believed(), now());
    api.says(&token, good());
    let verified = issuers.look(&token, &believed, Payer::Agent, now).await.unwrap();
    assert_eq!(verified.token.principal(), "system:serviceaccount:agents:ci");
    assert_eq!(verified.is_for(&Place::default()), Ok(()));
    let known = |at: u64| issuers.cache.get(&Digest::of(&token), &believed, at);
    assert!(known(now + MAX_AGE - 1).is_some_and(|known| known.is_ok()));
    assert_eq!(api.asked(), 1, "what is known is not asked for");
    assert!(known(now + MAX_AGE).is_none(), "and not for ever");
    // Its pod has gone.
    api.says(&token, json!({"error": "the pod is gone"}));
    assert_eq!(issuers.verify(&token).await.err(), Some(Refusal::Denied));
    assert_eq!(api.asked(), 2);
    assert_eq!(
        issuers.known(&token).unwrap().err(),
        Some(Refusal::Denied),
        "nor is it asked about again at once"
    );
    let status = issuers.status().remove(0);
    assert_eq!((&*status.state, status.reads, status.keys), ("Ready", 2, 0));
}

#[tokio::test]
async fn what_the_api_server_does_not_say_is_not_believed() {
    let api = Api::start().await;
    let issuers = in_force(vec![api.issuer()]);
    let changed = |name: &str, value: Value| {
        let mut status = good();
        status[name] = value;
        status
    };
    for (id, status, refusal) in [
        ("nothing", json!({}), Refusal::Denied),
        ("not", changed("authenticated", false.into()), Refusal::Denied),
        ("nobody", changed("user", Value::Null), Refusal::Denied),
        (
            "another",
            changed("user", json!({"username": "system:serviceaccount:agents:cj"})),
            Refusal::Denied,
        ),
        ("no audience", changed("audiences", json!([])), Refusal::Audience),
        (
            "its own",
            changed("audiences", json!(["https://kubernetes.default.svc"])),
            Refusal::Audience,
        ),
    ] {
        let token = token(id);
        api.says(&token, status);
        assert_eq!(issuers.verify(&token).await.err(), Some(refusal), "{id}");
    }
    // A token that is no good whatever the API server says costs it nothing.
    let before = api.asked();
    let ended = json!({
        "iss": ISSUER, "sub": "system:serviceaccount:agents:ci", "aud": ["mcpgw"], "exp": now() - 600,
        "kubernetes.io": {"namespace": "agents", "serviceaccount": {"name": "ci", "uid": "u"}},
    });
    let ended = Signer::ed25519("unknown").token(&ended);
    assert_eq!(issuers.verify(&ended).await.err(), Some(Refusal::Expired));
    assert_eq!(api.asked(), before);
}

#[tokio::test]
async fn an_api_server_that_cannot_be_asked_lets_nobody_in() {
    let api = Api::start().await;
    let issuers = in_force(vec![api.issuer()]);
    let token = token("a");
    for (status, body) in [
        (500, ""),
        (403, "{\"kind\": \"Status\"}"),
        (201, "{}"),
        (201, "{\"kind\": \"Status\", \"status\": {\"authenticated\": true}}"),
        (201, "no JSON"),
    ] {
        api.answers(&token, status, body);
        assert_eq!(
            issuers.verify(&token).await.err(),
            Some(Refusal::NoReview),
            "{status} {body}"
        );
        assert!(issuers.known(&token).is_none(), "it may be asked about again");
    }
    assert!(Refusal::NoReview.is_outage());
    let status = issuers.status().remove(0);
    assert_eq!((&*status.state, status.failed_reads), ("ReviewFails", 5));
    let said = status.error.unwrap();
    assert_eq!(said, "its answer is no TokenReview");

    api.says(&token, good());
    let own = api.dir.path().join("token");
    for (wrong, error) in [
        (Some("another"), "401"),
        (Some("a\nb"), "there is no token in"),
        (None, "cannot read"),
    ] {
        match wrong {
            Some(text) => std::fs::write(&own, text).unwrap(),
            None => std::fs::remove_file(&own).unwrap(),
        }
        assert_eq!(issuers.verify(&token).await.err(), Some(Refusal::NoReview), "{wrong:?}");
        let said = issuers.status().remove(0).error.unwrap();
        assert!(said.contains(error) && !said.contains(&token), "{said}");
    }
    std::fs::write(&own, OWN).unwrap();
    assert!(issuers.verify(&token).await.is_ok(), "its token is read anew");
    assert_eq!(issuers.status().remove(0).state, "Ready");

    let untrusted = in_force(vec![resources::Issuer {
        authorities: None,
        ..api.issuer()
    }]);
    let asked = api.asked();
    assert_eq!(untrusted.verify(&token).await.err(), Some(Refusal::NoReview));
    assert_eq!(api.asked(), asked, "nobody is shown a token who is not the API server");
}

#[tokio::test]
async fn a_token_that_many_show_at_once_is_asked_about_once_whoever_of_them_leaves() {
    let api = Api::start().await;
    let issuers = in_force(vec![api.issuer()]);
    let token = token("a");
    api.says(&token, good());
    let closed = api.gate.lock().await;
    let mut first = Box::pin(issuers.verify(&token));
    let mut others = futures_util::future::join_all((0..20).map(|_| issuers.verify(&token)));
    while api.asked() == 0 {
        tokio::select! {
            _ = &mut first => panic!("nobody has answered"),
            _ = &mut others => panic!("nobody has answered"),
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
    drop(first);
    drop(closed);
    assert!(others.await.iter().all(Result::is_ok));
    assert_eq!(api.asked(), 1);
    assert_eq!(issuers.status().remove(0).reads, 1);
}

#[tokio::test]
async fn whoever_shows_many_unknown_tokens_has_few_of_them_asked_about_and_the_first_one_of_others_is() {
    let api = Api::start().await;
    let issuers = in_force(vec![api.issuer()]);
    let payer = |name: &str| Payer::Workload(Owner::of(name));
    let _closed = api.gate.lock().await;
    let made_up: Vec<String> = (0..4 * REVIEWS_AT_A_TIME)
        .map(|number| token(&number.to_string()))
        .collect();
    let shown = made_up.iter().map(|token| issuers.verify_for(token, payer("greedy")));
    let shown = futures_util::future::join_all(shown);
    let token = token("a");
    api.says(&token, good());
    token.clone_into(&mut api.let_through.lock().unwrap());
    let modest = async {
        until("it is asked", async || api.asked() >= REVIEWS_PER_CALLER).await;
        issuers.verify_for(&token, payer("modest")).await
    };
    tokio::select! {
        _ = shown => panic!("nobody has answered"),
        found = modest => assert!(found.is_ok()),
    }
    assert!(api.asked() <= 1 + REVIEWS_PER_CALLER);
    assert!(
        made_up.iter().all(|token| issuers.known(token).is_none()),
        "they may try again"
    );
    assert_eq!(
        issuers.status().remove(0).state,
        "Ready",
        "nothing is wrong with the API server"
    );
}

#[tokio::test]
async fn the_good_tokens_of_one_caller_wait_for_each_other() {
    let api = Api::start().await;
    let issuers = in_force(vec![api.issuer()]);
    let tokens: Vec<String> = (0..4 * REVIEWS_PER_CALLER)
        .map(|number| token(&number.to_string()))
        .collect();
    tokens.iter().for_each(|token| api.says(token, good()));
    let one = Payer::Workload(Owner::of("one"));
    let found = futures_util::future::join_all(tokens.iter().map(|token| issuers.verify_for(token, one))).await;
    assert!(found.iter().all(Result::is_ok));
}

#[tokio::test]
async fn an_api_server_is_known_from_one_review_to_the_next() {
    let api = Api::start().await;
    let issuers = in_force(vec![api.issuer()]);
    for (id, known) in [("a", 0), ("b", 1), ("c", 2)] {
        let token = token(id);
        api.says(&token, good());
        assert!(issuers.verify(&token).await.is_ok());
        assert_eq!(api.resumed.load(Ordering::Relaxed), known);
    }
}

#[tokio::test]
async fn an_api_server_whose_settings_are_changed_and_put_back_is_asked_anew() {
    let api = Api::start().await;
    let issuers = in_force(vec![api.issuer()]);
    let token = token("a");
    api.says(&token, good());
    assert!(issuers.verify(&token).await.is_ok());
    let edited = resources::Issuer {
        clock_skew: Duration::from_secs(31),
        ..api.issuer()
    };
    issuers.put_in_force(&settings(vec![edited]));
    issuers.put_in_force(&settings(vec![api.issuer()]));
    assert!(issuers.known(&token).is_none(), "who said so is gone");
    assert!(issuers.verify(&token).await.is_ok());
    assert_eq!(api.asked(), 2);
}

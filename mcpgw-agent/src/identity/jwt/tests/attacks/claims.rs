//! What claims may say.

use super::*;

#[tokio::test]
async fn claims_that_say_too_little_too_much_or_another_thing_are_refused() {
    let scene = scene();
    let now = now();
    let text = claims().to_string();
    let twice = |more: &str| format!("{},{more}}}", text.strip_suffix('}').unwrap());
    let sign = |claims: &Value| scene.p256.token(claims);
    let raw = |text: &str| scene.p256.of_texts(r#"{"alg":"ES256","kid":"p256"}"#, text, "ES256");
    let table = [
        ("no issuer", sign(&with("iss", Value::Null)), Refusal::Issuer),
        (
            "an issuer with a slash more",
            sign(&with("iss", "https://issuer.example/".into())),
            Refusal::Issuer,
        ),
        (
            "an issuer of other case",
            sign(&with("iss", "https://Issuer.example".into())),
            Refusal::Issuer,
        ),
        ("two issuers", sign(&with("iss", json!([ISSUER]))), Refusal::Claims),
        (
            "another issuer's name, our key",
            sign(&with("iss", "https://other.example".into())),
            Refusal::UnknownKey,
        ),
        ("no expiry", sign(&with("exp", Value::Null)), Refusal::NoExpiry),
        (
            "an expiry in words",
            sign(&with("exp", (now + 600).to_string().into())),
            Refusal::Claims,
        ),
        ("a negative expiry", sign(&with("exp", (-1).into())), Refusal::Claims),
        (
            "an expiry beyond all times",
            raw(&text.replace(&(now + 600).to_string(), "1e300")),
            Refusal::Claims,
        ),
        ("expired", sign(&with("exp", (now - 31).into())), Refusal::Expired),
        ("not yet", sign(&with("nbf", (now + 90).into())), Refusal::NotYet),
        ("a beginning in words", sign(&with("nbf", "0".into())), Refusal::Claims),
        (
            "made tomorrow",
            sign(&with("iat", (now + 86_400).into())),
            Refusal::IssuedLater,
        ),
        ("no audience", sign(&with("aud", Value::Null)), Refusal::Audience),
        ("nobody's audience", sign(&with("aud", json!([]))), Refusal::Audience),
        (
            "another audience",
            sign(&with("aud", "other".into())),
            Refusal::Audience,
        ),
        (
            "an audience that ours begins",
            sign(&with("aud", "mcpgw-admin".into())),
            Refusal::Audience,
        ),
        (
            "an audience that begins ours",
            sign(&with("aud", "mcp".into())),
            Refusal::Audience,
        ),
        (
            "an audience with ours in it",
            sign(&with("aud", "x mcpgw".into())),
            Refusal::Audience,
        ),
        (
            "an audience of other case",
            sign(&with("aud", "MCPGW".into())),
            Refusal::Audience,
        ),
        (
            "audiences in one string",
            sign(&with("aud", "mcpgw,other".into())),
            Refusal::Audience,
        ),
        (
            "an audience that is an object",
            sign(&with("aud", json!({"mcpgw": 1}))),
            Refusal::Claims,
        ),
        (
            "an audience among numbers",
            sign(&with("aud", json!(["mcpgw", 1]))),
            Refusal::Claims,
        ),
        (
            "audiences without end",
            sign(&with("aud", json!(vec!["mcpgw"; 65]))),
            Refusal::Claims,
        ),
        ("no subject", sign(&with("sub", Value::Null)), Refusal::NoSubject),
        ("an empty subject", sign(&with("sub", "".into())), Refusal::NoSubject),
        (
            "a subject with a line end",
            sign(&with("sub", "a\nb".into())),
            Refusal::NoSubject,
        ),
        (
            "a subject that is a number",
            sign(&with("sub", 7.into())),
            Refusal::Claims,
        ),
        (
            "groups that are an object",
            sign(&with("groups", json!({"admin": true}))),
            Refusal::Claims,
        ),
        (
            "a scope that is a number",
            sign(&with("scope", 1.into())),
            Refusal::Claims,
        ),
        (
            "two audiences by two names",
            raw(&twice(r#""aud":"x""#)),
            Refusal::Claims,
        ),
        (
            "two subjects, one escaped",
            raw(&twice(r#""\u0073ub":"admin""#)),
            Refusal::Claims,
        ),
        (
            "a name twice within",
            raw(&twice(r#""x":{"a":1,"a":2}"#)),
            Refusal::Claims,
        ),
        ("claims that are a string", raw(r#""x""#), Refusal::Claims),
        (
            "something behind the claims",
            raw(&format!("{text} {text}")),
            Refusal::Claims,
        ),
    ];
    for (attack, token, refusal) in table {
        assert_eq!(scene.refusal(&token).await, Some(refusal), "{attack}");
    }
}

#[tokio::test]
async fn times_are_exact_to_the_second_on_both_sides_of_the_skew() {
    let scene = scene();
    let at = |name: &'static str, value: Value, now: u64| {
        let token = scene.p256.token(&with(name, value));
        let issuers = Arc::clone(&scene.issuers);
        async move { issuers.look(&token, &issuers.believed(), Payer::Agent, now).await.err() }
    };
    let now = now();
    // The skew is 30 s.
    assert_eq!(at("exp", now.into(), now + 29).await, None);
    assert_eq!(at("exp", now.into(), now + 30).await, Some(Refusal::Expired));
    assert_eq!(at("exp", json!(now as f64 + 0.5), now + 30).await, None);
    assert_eq!(
        at("exp", json!(now as f64 + 0.5), now + 31).await,
        Some(Refusal::Expired)
    );
    assert_eq!(at("exp", u64::MAX.into(), now).await, None);
    assert_eq!(at("exp", 0.into(), now).await, Some(Refusal::Expired));
    assert_eq!(at("nbf", (now + 30).into(), now).await, None);
    assert_eq!(at("nbf", (now + 31).into(), now).await, Some(Refusal::NotYet));
    assert_eq!(at("nbf", u64::MAX.into(), now).await, Some(Refusal::NotYet));
    assert_eq!(at("iat", (now + 30).into(), now).await, None);
    assert_eq!(at("iat", (now + 31).into(), now).await, Some(Refusal::IssuedLater));
    assert_eq!(at("nbf", Value::Null, now).await, None);
    assert_eq!(at("iat", Value::Null, now).await, None);
}

#[tokio::test]
async fn an_audience_may_be_one_of_several_and_the_public_url_with_the_path_that_was_asked() {
    let scene = scene();
    let audiences = |value: Value| {
        let token = scene.p256.token(&with("aud", value));
        let issuers = Arc::clone(&scene.issuers);
        async move {
            issuers
                .look(&token, &issuers.believed(), Payer::Agent, now())
                .await
                .unwrap()
        }
    };
    let url = Some("https://mcp.example");
    let place = |path| Place { public_url: url, path };
    assert_eq!(audiences(json!(["x", "mcpgw"])).await.is_for(&Place::default()), Ok(()));
    let root = audiences("https://mcp.example".into()).await;
    assert_eq!(root.is_for(&place(Some("/mcp"))), Ok(()));
    assert_eq!(root.is_for(&place(None)), Ok(()));
    assert_eq!(root.is_for(&Place::default()), Err(Refusal::Audience));
    let office = audiences("https://mcp.example/mcp/office".into()).await;
    assert_eq!(office.is_for(&place(Some("/mcp/office"))), Ok(()));
    for elsewhere in [Some("/mcp"), Some("/mcp/other"), None] {
        assert_eq!(office.is_for(&place(elsewhere)), Err(Refusal::Audience));
    }
    for near in [
        "https://mcp.example/",
        "https://mcp.example.evil/mcp",
        "http://mcp.example",
        "mcp.example",
    ] {
        assert_eq!(
            audiences(near.into()).await.is_for(&place(Some("/mcp"))),
            Err(Refusal::Audience),
            "{near}"
        );
    }
}

#[tokio::test]
async fn only_a_cluster_says_what_serviceaccount_a_token_is_for_and_it_says_one() {
    let scene = scene();
    let pod = json!({"name": "researcher-1", "uid": "0e9b"});
    let account = |subject: &str, said: Value| {
        let mut claims = with("iss", "https://cluster.example".into());
        claims["sub"] = subject.into();
        claims["kubernetes.io"] = said;
        claims
    };
    let said = json!({"namespace": "agents", "serviceaccount": {"name": "reader", "uid": "1"}, "pod": pod});
    let good = account("system:serviceaccount:agents:reader", said.clone());
    let verified = scene.look(&scene.p384.token(&good)).await.unwrap();
    let found = verified.token.service_account.clone().unwrap();
    assert_eq!(found.name.to_string(), "agents/reader");
    assert_eq!(found.pod.unwrap().to_string(), "agents/researcher-1");
    assert_eq!(found.pod_uid.as_deref(), Some("0e9b"));
    assert_eq!(verified.token.principal(), "system:serviceaccount:agents:reader");

    for (attack, claims) in [
        (
            "another's name in sub",
            account("system:serviceaccount:agents:admin", said.clone()),
        ),
        ("a user's name in sub", account("alice", said.clone())),
        (
            "no namespace",
            account(
                "system:serviceaccount:agents:reader",
                json!({"serviceaccount": {"name": "reader"}}),
            ),
        ),
        (
            "no account",
            account("system:serviceaccount:agents:reader", json!({"namespace": "agents"})),
        ),
        ("nothing", account("system:serviceaccount:agents:reader", json!(null))),
        (
            "a name with a colon",
            account(
                "system:serviceaccount:a:b:c",
                json!({"namespace": "a:b", "serviceaccount": {"name": "c"}}),
            ),
        ),
        (
            "a pod without a uid",
            account(
                "system:serviceaccount:agents:reader",
                json!({"namespace": "agents", "serviceaccount": {"name": "reader"}, "pod": {"name": "p"}}),
            ),
        ),
    ] {
        let token = scene.p384.token(&claims);
        assert_eq!(scene.refusal(&token).await, Some(Refusal::ServiceAccount), "{attack}");
    }

    // Any other issuer may say what it likes of Kubernetes: its subjects are its own.
    let mut elsewhere = claims();
    elsewhere["sub"] = "system:serviceaccount:agents:reader".into();
    elsewhere["kubernetes.io"] = said;
    let verified = scene.look(&scene.p256.token(&elsewhere)).await.unwrap();
    assert_eq!(verified.token.service_account, None);
    assert_eq!(
        verified.token.principal(),
        "https://issuer.example#system:serviceaccount:agents:reader"
    );
}

#[tokio::test]
async fn subject_and_groups_are_where_the_settings_say() {
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::ed25519("k");
    let path = dir.path().join("keys");
    std::fs::write(&path, document(&[signer.jwk()])).unwrap();
    let mut one = issuer(ISSUER, path);
    one.claims.subject = "email".into();
    one.claims.groups = "realm_access.roles".into();
    let issuers = in_force(vec![one]);
    let mut claims = claims();
    claims["email"] = "alice@example.org".into();
    claims["realm_access"] = json!({"roles": ["reader", "writer"]});
    claims["groups"] = json!(["admin"]);
    let verified = issuers
        .look(&signer.token(&claims), &issuers.believed(), Payer::Agent, now())
        .await
        .unwrap();
    assert_eq!(&*verified.token.subject, "alice@example.org");
    assert_eq!(*verified.token.groups, ["reader".into(), "writer".into()]);
    claims.as_object_mut().unwrap().remove("email");
    let refused = issuers
        .look(&signer.token(&claims), &issuers.believed(), Payer::Agent, now())
        .await
        .err();
    assert_eq!(refused, Some(Refusal::NoSubject));
}

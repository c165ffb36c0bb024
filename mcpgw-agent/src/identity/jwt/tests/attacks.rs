//! What is tried against a verifier, and the reason that each is refused by. Each token differs from a good one in
//! what its name says.

use super::{
    signer::{encode, hs256},
    *,
};

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
        let verified = self.issuers.look(token, now()).await?;
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

#[tokio::test]
async fn headers_that_lie_about_key_and_algorithm_are_refused() {
    let scene = scene();
    let Scene {
        rsa,
        p256,
        p384,
        ed25519,
        other,
        ..
    } = &scene;
    let good = claims();
    let header = |alg: &str, kid: &str| json!({"alg": alg, "kid": kid});
    let unsigned = |alg: &str| {
        format!(
            "{}.{}.",
            encode(json!({"alg": alg}).to_string()),
            encode(good.to_string())
        )
    };
    let more = |name: &str, value: Value| {
        let mut header = header("ES256", "p256");
        header[name] = value;
        p256.with_header(&header, &good)
    };
    let elsewhere = with("iss", "https://strict.example".into());
    let table = [
        (
            "the public RSA key as a secret",
            hs256(&rsa.public(), &header("HS256", "rsa"), &good),
            Refusal::Algorithm,
        ),
        (
            "a secret of nothing",
            hs256(b"", &header("HS256", "rsa"), &good),
            Refusal::Algorithm,
        ),
        (
            "the secret of a P-256 point",
            hs256(&p256.public(), &header("HS512", "p256"), &good),
            Refusal::Algorithm,
        ),
        ("alg none", unsigned("none"), Refusal::Algorithm),
        ("alg NoNe", unsigned("NoNe"), Refusal::Algorithm),
        (
            "alg none with a good signature",
            p256.with_header(&header("none", "p256"), &good),
            Refusal::Algorithm,
        ),
        (
            "alg of lower case",
            p256.with_header(&header("es256", "p256"), &good),
            Refusal::Algorithm,
        ),
        (
            "alg with a space",
            p256.with_header(&header("ES256 ", "p256"), &good),
            Refusal::Algorithm,
        ),
        (
            "alg that nobody knows",
            p256.with_header(&header("ES256K", "p256"), &good),
            Refusal::Algorithm,
        ),
        (
            "no alg",
            p256.with_header(&json!({"kid": "p256"}), &good),
            Refusal::Algorithm,
        ),
        (
            "alg that is a list",
            p256.with_header(&json!({"alg": ["ES256"], "kid": "p256"}), &good),
            Refusal::Header,
        ),
        (
            "alg that the issuer does not use",
            p256.with_header(&header("ES256", "p256"), &elsewhere),
            Refusal::Algorithm,
        ),
        (
            "an RSA algorithm for a point",
            p256.with_header(&header("RS256", "p256"), &good),
            Refusal::KeyMismatch,
        ),
        (
            "ES256 for a P-384 key",
            p384.with_header(&header("ES256", "p384"), &good),
            Refusal::KeyMismatch,
        ),
        (
            "ES384 for a P-256 key",
            p256.with_header(&header("ES384", "p256"), &good),
            Refusal::KeyMismatch,
        ),
        (
            "EdDSA for an RSA key",
            rsa.with_header(&header("EdDSA", "rsa"), &good),
            Refusal::KeyMismatch,
        ),
        (
            "PS256 for a key of RS256",
            rsa.with_header(&header("PS256", "only-rs256"), &good),
            Refusal::KeyMismatch,
        ),
        (
            "RS256 said, PS256 signed",
            {
                let message = format!(
                    "{}.{}",
                    encode(header("RS256", "rsa").to_string()),
                    encode(good.to_string())
                );
                format!("{message}.{}", encode(rsa.sign(message.as_bytes(), "PS256")))
            },
            Refusal::Signature,
        ),
        (
            "a key for encryption",
            p256.with_header(&header("ES256", "enc"), &good),
            Refusal::UnknownKey,
        ),
        (
            "an RSA key of 1024 bits",
            rsa.with_header(&header("RS256", "weak"), &good),
            Refusal::UnknownKey,
        ),
        (
            "a key of another issuer",
            other.with_header(&header("ES256", "other"), &good),
            Refusal::UnknownKey,
        ),
        (
            "another issuer's key under our kid",
            other.with_header(&header("ES256", "p256"), &good),
            Refusal::Signature,
        ),
        (
            "a kid that is a path",
            p256.with_header(&header("ES256", "../../keys/p256"), &good),
            Refusal::UnknownKey,
        ),
        (
            "a kid that is a device",
            p256.with_header(&header("ES256", "/dev/null"), &good),
            Refusal::UnknownKey,
        ),
        (
            "a kid that is SQL",
            p256.with_header(&header("ES256", "x' OR '1'='1"), &good),
            Refusal::UnknownKey,
        ),
        (
            "a kid of other case",
            p256.with_header(&header("ES256", "P256"), &good),
            Refusal::UnknownKey,
        ),
        (
            "an empty kid",
            p256.with_header(&header("ES256", ""), &good),
            Refusal::Header,
        ),
        (
            "a kid that is a number",
            p256.with_header(&json!({"alg": "ES256", "kid": 1}), &good),
            Refusal::Header,
        ),
        (
            "a kid without end",
            p256.with_header(&header("ES256", &"k".repeat(513)), &good),
            Refusal::Header,
        ),
        (
            "a kid that two keys have",
            ed25519.with_header(&header("EdDSA", "twin"), &good),
            Refusal::AmbiguousKey,
        ),
        (
            "no kid where several could be",
            ed25519.with_header(&json!({"alg": "EdDSA"}), &good),
            Refusal::NoKeyId,
        ),
        ("crit", more("crit", json!(["exp"])), Refusal::Critical),
        ("an empty crit", more("crit", json!([])), Refusal::Critical),
        ("an unencoded payload", more("b64", false.into()), Refusal::Critical),
        (
            "a key in the header",
            other.with_header(
                &{
                    let mut header = header("ES256", "p256");
                    header["jwk"] = other.jwk();
                    header
                },
                &good,
            ),
            Refusal::OwnKey,
        ),
        (
            "a URL of keys",
            more("jku", "https://evil.example/keys".into()),
            Refusal::OwnKey,
        ),
        (
            "a URL of a certificate",
            more("x5u", "https://evil.example/c.pem".into()),
            Refusal::OwnKey,
        ),
        ("a certificate", more("x5c", json!(["MIIB"])), Refusal::OwnKey),
        ("a token in a token", more("cty", "JWT".into()), Refusal::Type),
        (
            "a proof of possession as a token",
            more("typ", "dpop+jwt".into()),
            Refusal::Type,
        ),
        ("a logout as a token", more("typ", "logout+jwt".into()), Refusal::Type),
        ("a type that is a number", more("typ", 1.into()), Refusal::Header),
        (
            "two algorithms",
            p256.of_texts(
                r#"{"alg":"none","kid":"p256","alg":"ES256"}"#,
                &good.to_string(),
                "ES256",
            ),
            Refusal::Header,
        ),
        (
            "two kids, one escaped",
            p256.of_texts(
                r#"{"alg":"ES256","kid":"p256","\u006bid":"x"}"#,
                &good.to_string(),
                "ES256",
            ),
            Refusal::Header,
        ),
        (
            "a header that is a list",
            p256.of_texts("[]", &good.to_string(), "ES256"),
            Refusal::Header,
        ),
        (
            "a header that is no JSON",
            p256.of_texts("{", &good.to_string(), "ES256"),
            Refusal::Header,
        ),
    ];
    for (attack, token, refusal) in table {
        assert_eq!(scene.refusal(&token).await, Some(refusal), "{attack}");
    }
}

#[tokio::test]
async fn tokens_that_are_not_in_their_one_form_are_refused() {
    let scene = scene();
    let good = scene.p256.token(&claims());
    assert_eq!(scene.refusal(&good).await, None);
    let parts: Vec<&str> = good.split('.').collect();
    let [header, body, signature] = parts[..] else {
        panic!("{good}")
    };
    // The last of the 86 characters has four bits that mean nothing, and must be zero.
    let loose = format!(
        "{}{}",
        &signature[..85],
        match &signature[85..] {
            "A" => "B",
            "Q" => "R",
            "g" => "h",
            _ => "x",
        }
    );
    let der = {
        let raw = scene.p256.sign(format!("{header}.{body}").as_bytes(), "ES256");
        let mut der = vec![0x30, 0x44, 0x02, 0x20];
        der.extend(&raw[..32]);
        der.extend([0x02, 0x20]);
        der.extend(&raw[32..]);
        encode(der)
    };
    let tampered = encode(claims().to_string().replace("alice", "admin"));
    let table = [
        ("nothing", String::new(), Refusal::Malformed),
        ("no dot", header.to_owned(), Refusal::Malformed),
        ("no signature part", format!("{header}.{body}"), Refusal::Malformed),
        ("an empty signature", format!("{header}.{body}."), Refusal::Malformed),
        ("a fourth part", format!("{good}.x"), Refusal::Malformed),
        (
            "five parts",
            format!("{header}.{body}.{body}.{body}.{signature}"),
            Refusal::Malformed,
        ),
        ("only dots", "..".to_owned(), Refusal::Header),
        ("padding", format!("{header}.{body}.{signature}=="), Refusal::Malformed),
        (
            "a second spelling of the last bits",
            format!("{header}.{body}.{loose}"),
            Refusal::Malformed,
        ),
        ("the other base64", good.replacen('.', "+.", 1), Refusal::Malformed),
        ("a line end", format!("{good}\n"), Refusal::Malformed),
        ("a space before", format!(" {good}"), Refusal::Malformed),
        ("a cut signature", good[..good.len() - 2].to_owned(), Refusal::Signature),
        (
            "a longer signature",
            format!("{header}.{body}.{}", encode([1; 66])),
            Refusal::Signature,
        ),
        (
            "a signature of zeros",
            format!("{header}.{body}.{}", encode([0; 64])),
            Refusal::Signature,
        ),
        (
            "a signature in DER",
            format!("{header}.{body}.{der}"),
            Refusal::Signature,
        ),
        (
            "other claims under the signature",
            format!("{header}.{tampered}.{signature}"),
            Refusal::Signature,
        ),
        (
            "too long",
            format!("{header}.{body}.{}", "A".repeat(limits::MAX_TOKEN_BYTES)),
            Refusal::TooLong,
        ),
    ];
    for (attack, token, refusal) in table {
        assert_eq!(scene.refusal(&token).await, Some(refusal), "{attack}");
    }
}

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
        async move { issuers.look(&token, now).await.err() }
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
        async move { issuers.look(&token, now()).await.unwrap() }
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
    let verified = issuers.look(&signer.token(&claims), now()).await.unwrap();
    assert_eq!(&*verified.token.subject, "alice@example.org");
    assert_eq!(*verified.token.groups, ["reader".into(), "writer".into()]);
    claims.as_object_mut().unwrap().remove("email");
    let refused = issuers.look(&signer.token(&claims), now()).await.err();
    assert_eq!(refused, Some(Refusal::NoSubject));
}

//! What a header may claim of key and algorithm.

use super::{
    super::signer::{encode, hs256},
    *,
};

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

//! Which keys of a document are used.

use super::{signer::encode, *};
use crate::identity::jwt::keys::KeySet;

fn usable(keys: &[Value]) -> Option<usize> {
    KeySet::parse(document(keys).as_bytes()).ok().map(|set| set.len())
}

#[test]
fn keys_that_are_weak_secret_private_or_for_something_else_are_left_out() {
    let (rsa, p256, p384, ed25519) = (
        Signer::rsa("a").jwk(),
        Signer::p256("b").jwk(),
        Signer::p384("c").jwk(),
        Signer::ed25519("d").jwk(),
    );
    assert_eq!(
        usable(&[rsa.clone(), p256.clone(), p384.clone(), ed25519.clone()]),
        Some(4)
    );
    let changed = |key: &Value, name: &str, value: Value| {
        let mut key = key.clone();
        key[name] = value;
        key
    };
    let zeros = [&[0][..], &[0xff; 128]].concat();
    for (why, key) in [
        ("1024 bits", changed(&rsa, "n", encode([0xff; 128]).into())),
        (
            "1024 bits behind zeros",
            changed(&rsa, "n", encode([&[0; 200][..], &zeros].concat()).into()),
        ),
        (
            "2047 bits",
            changed(&rsa, "n", encode([&[0x7f][..], &[0xff; 255]].concat()).into()),
        ),
        ("16384 bits", changed(&rsa, "n", encode([0xff; 2048]).into())),
        ("an exponent of 1", changed(&rsa, "e", "AQ".into())),
        ("an even exponent", changed(&rsa, "e", "Ag".into())),
        ("no exponent", changed(&rsa, "e", "".into())),
        ("padding", changed(&rsa, "e", "AQAB====".into())),
        ("for encryption", changed(&rsa, "use", "enc".into())),
        ("for signing only", changed(&rsa, "key_ops", json!(["sign"]))),
        ("a private key", changed(&rsa, "d", "AQAB".into())),
        ("for an algorithm of others", changed(&p256, "alg", "RS256".into())),
        ("for a symmetric algorithm", changed(&rsa, "alg", "HS256".into())),
        ("for none", changed(&rsa, "alg", "none".into())),
        ("an empty id", changed(&rsa, "kid", "".into())),
        ("a short coordinate", changed(&p256, "x", encode([1; 31]).into())),
        ("a coordinate of another curve", changed(&p256, "crv", "P-384".into())),
        ("a curve that is not supported", changed(&p256, "crv", "P-521".into())),
        ("Ed448", changed(&ed25519, "crv", "Ed448".into())),
        ("a short Ed25519 key", changed(&ed25519, "x", encode([1; 31]).into())),
        ("a secret", json!({"kty": "oct", "k": "c2VjcmV0"})),
        ("a kind that nobody knows", json!({"kty": "XYZ"})),
        ("no kind", json!({"n": "x"})),
        ("no object", json!(7)),
    ] {
        assert_eq!(usable(std::slice::from_ref(&key)), None, "{why}");
        let set = KeySet::parse(document(&[key, p384.clone()]).as_bytes()).unwrap();
        assert_eq!((set.len(), set.unusable), (1, 1), "{why}");
    }
    let point = p256["x"].as_str().unwrap();
    let twice = format!(
        r#"{{"keys":[{{"kty":"EC","crv":"P-256","x":"{point}","x":"{point}","y":{}}}]}}"#,
        p256["y"]
    );
    assert!(KeySet::parse(twice.as_bytes()).is_err());
}

#[test]
fn a_document_without_a_key_is_none_and_one_with_too_many_is_cut() {
    for text in [
        "",
        "{}",
        "[]",
        r#"{"keys":{}}"#,
        r#"{"keys":[]}"#,
        r#"{"keys":[],"keys":[]}"#,
    ] {
        assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
    }
    let many = vec![Signer::ed25519("k").jwk(); limits::MAX_KEYS + 10];
    let set = KeySet::parse(document(&many).as_bytes()).unwrap();
    assert_eq!((set.len(), set.unusable), (limits::MAX_KEYS, 10));
}

#[test]
fn a_point_that_is_on_no_curve_verifies_nothing() {
    let signer = Signer::p256("k");
    let mut jwk = signer.jwk();
    jwk["y"] = encode([7; 32]).into();
    let set = KeySet::parse(document(&[jwk]).as_bytes()).unwrap();
    let key = set.find(Some("k"), Algorithm::ES256).unwrap();
    let signature = encode(signer.sign(b"x", "ES256"));
    assert_eq!(key.verify("x", &signature, Algorithm::ES256), Err(Refusal::Signature));
}

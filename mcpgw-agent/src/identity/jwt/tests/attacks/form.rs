//! Tokens that are not in their one form.

use super::{super::signer::encode, *};

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

//! No token is believed but the one that was signed. The input: the token, then the keys of its issuer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpgw_agent::identity::jwt::signed_claims;

/// The one that was signed, with a key that was thrown away then.
const SIGNED: &str = include_str!("../seeds/token/signed");
/// Its public key.
const KEY: &str = "gvQFSYo6I9izVTczaQBiSoPx4CUK0MQeXu9QkGiTE7o";

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (token, keys) = (&input[..end], &input[end..]);
    let Ok(token) = std::str::from_utf8(token) else { return };
    let Ok(claims) = signed_claims(token, keys) else {
        return;
    };
    // An issuer may have keys that say yes to everything; then that is its word.
    if String::from_utf8_lossy(keys).contains(KEY) {
        assert_eq!(Some(token), SIGNED.lines().next());
        assert_eq!(claims["sub"], "somebody");
    }
});

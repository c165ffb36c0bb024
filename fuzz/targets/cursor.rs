//! A cursor comes back as it was, for its list and its owner, and no changed one does. The input: which bit of the
//! token to change, then the position.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use mcpgw_agent::mcp::seal::{Cursor, KEY_BYTES, Key, Keys, ListKind, Owner, Sealer, Token, TokenError};

static SEALER: LazyLock<Sealer> = LazyLock::new(|| {
    Sealer::new(Keys {
        current: Arc::new(Key::new(&[1; KEY_BYTES]).expect("a key")),
        previous: None,
    })
});

fuzz_target!(|input: &[u8]| {
    let Some((bit, position)) = input.split_first_chunk::<2>() else {
        return;
    };
    let Ok(position) = std::str::from_utf8(position) else {
        return;
    };
    let owner = Owner::of("anonymous");
    let open = |token: &str, owner| Cursor::open_for((ListKind::Tools, None), &SEALER, token, owner, 0);
    assert!(open(position, owner).is_err());
    let cursor = Cursor {
        kind: ListKind::Tools,
        catalog: None,
        owner,
        position: position.to_owned(),
        issued: 0,
    };
    let Ok(token) = cursor.seal(&SEALER) else { return };
    assert_eq!(open(&token, owner), Ok(cursor));
    assert_eq!(open(&token, Owner::of("x")), Err(TokenError::Foreign));
    assert!(Cursor::open_for((ListKind::Prompts, None), &SEALER, &token, owner, 0).is_err());
    let bit = usize::from(u16::from_be_bytes(*bit)) % (token.len() * 7);
    let mut changed = token.into_bytes();
    changed[bit / 7] ^= 1 << (bit % 7);
    let changed = String::from_utf8(changed).expect("ASCII");
    assert_eq!(open(&changed, owner), Err(TokenError::Forged));
});

//! No text is a token, and what was sealed comes back for its purpose only.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use mcpgw_agent::mcp::seal::{
    GatewaySession, KEY_BYTES, Key, Keys, Owner, Purpose, RedirectedSession, Sealer, ServerProgress, ServerRequest,
    Task, Token,
};

const PURPOSES: [Purpose; 8] = [
    Purpose::Redirected,
    Purpose::Session,
    Purpose::Cursor,
    Purpose::Request,
    Purpose::Task,
    Purpose::Event,
    Purpose::Progress,
    Purpose::Address,
];

static SEALER: LazyLock<Sealer> = LazyLock::new(|| {
    let key = |byte| Arc::new(Key::new(&[byte; KEY_BYTES]).expect("a key"));
    Sealer::new(Keys {
        current: key(1),
        previous: Some(key(2)),
    })
});

/// Seals what may be no such token, and opens it.
fn open<T: Token>(content: &[u8]) {
    if let Ok(token) = SEALER.seal(T::PURPOSE, content)
        && let Ok(opened) = T::open(&SEALER, &token, Owner::of("anonymous"), 0)
    {
        let again = opened.seal(&SEALER).expect("no longer than it was");
        assert!(T::open(&SEALER, &again, Owner::of("anonymous"), 0).is_ok());
    }
}

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        assert!(PURPOSES.iter().all(|purpose| SEALER.open(*purpose, text).is_err()));
    }
    for purpose in PURPOSES {
        let Ok(token) = SEALER.seal(purpose, input) else {
            continue;
        };
        for other in PURPOSES {
            assert_eq!(SEALER.open(other, &token).is_ok(), other == purpose);
        }
    }
    open::<RedirectedSession>(input);
    open::<GatewaySession>(input);
    open::<ServerRequest>(input);
    open::<Task>(input);
    open::<ServerProgress>(input);
});

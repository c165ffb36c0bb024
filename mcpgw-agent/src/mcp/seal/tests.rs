use std::sync::Arc;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

const NOW: u64 = 1_795_000_000;
const DAY: u64 = 24 * 60 * 60;
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

fn key(byte: u8) -> Arc<Key> {
    Arc::new(Key::new(&[byte; KEY_BYTES]).unwrap())
}

fn sealer() -> Sealer {
    Sealer::new(Keys {
        current: key(1),
        previous: None,
    })
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn owner() -> Owner {
    Owner::of("system:serviceaccount:agents:researcher agents/researcher-0")
}

fn session() -> RedirectedSession {
    RedirectedSession {
        upstream: "4f6d".to_owned(),
        server: "tools/calculator".to_owned(),
        endpoint: "[fd00::5]:8080".parse().unwrap(),
        owner: owner(),
        revision: "2025-11-25".to_owned(),
        issued: NOW,
        initialize: Some(raw(r#"{"capabilities": {},"x":1.50}"#)),
        nonce: Nonce::random().unwrap(),
    }
}

fn task() -> Task {
    Task {
        server: "tools/calculator".to_owned(),
        task: "t-1".to_owned(),
        owner: owner(),
    }
}

#[test]
fn what_was_sealed_opens_for_its_purpose_only() {
    let sealer = sealer();
    for purpose in PURPOSES {
        let token = sealer.seal(purpose, b"content").unwrap();
        assert!(
            token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        for other in PURPOSES {
            let expected = if other == purpose {
                Ok(b"content".to_vec())
            } else {
                Err(Unsealed::Forged)
            };
            assert_eq!(sealer.open(other, &token), expected, "{purpose:?} {other:?}");
        }
    }
}

#[test]
fn purposes_have_bytes_of_their_own() {
    let mut bytes = PURPOSES.map(Purpose::byte);
    bytes.sort_unstable();
    assert!(bytes.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_token_has_one_spelling() {
    let sealer = sealer();
    // One whose last character has bits to spare.
    let token = sealer.seal(Purpose::Session, b"ab").unwrap();
    let (head, last) = token.split_at(token.len() - 1);
    let others = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars();
    let opened = others.filter(|c| sealer.open(Purpose::Session, &format!("{head}{c}")).is_ok());
    assert_eq!(opened.collect::<String>(), last);
    for suffix in ["=", " ", "\n", "A"] {
        assert!(sealer.open(Purpose::Session, &format!("{token}{suffix}")).is_err());
    }
}

#[test]
fn ids_are_the_same_each_time_and_sessions_never() {
    let sealer = sealer();
    for purpose in PURPOSES {
        let [one, two] = [(); 2].map(|()| sealer.seal(purpose, b"x").unwrap());
        assert_eq!(
            one == two,
            matches!(purpose, Purpose::Request | Purpose::Task),
            "{purpose:?}"
        );
    }
    let nonce = |token: &str| token[7..22].to_owned();
    let [request, task] = [Purpose::Request, Purpose::Task].map(|purpose| sealer.seal(purpose, b"x").unwrap());
    assert_ne!(nonce(&request), nonce(&task));
    assert_ne!(nonce(&sealer.seal(Purpose::Task, b"y").unwrap()), nonce(&task));
}

#[test]
fn a_token_outlives_one_rotation_and_not_two() {
    let sealer = sealer();
    let clone = sealer.clone();
    let token = sealer.seal(Purpose::Session, b"x").unwrap();
    sealer.replace(Keys {
        current: key(2),
        previous: Some(key(1)),
    });
    assert!(clone.open(Purpose::Session, &token).is_ok());
    assert_ne!(
        clone.seal(Purpose::Task, b"x"),
        self::sealer().seal(Purpose::Task, b"x")
    );
    sealer.replace(Keys {
        current: key(3),
        previous: Some(key(2)),
    });
    assert_eq!(clone.open(Purpose::Session, &token), Err(Unsealed::Forged));
}

#[test]
fn too_long_is_refused_on_both_sides() {
    let sealer = sealer();
    for purpose in PURPOSES {
        let fits = MAX_TOKEN / 4 * 3 - 33;
        let token = sealer.seal(purpose, &vec![0; fits]).unwrap();
        assert_eq!(token.len(), MAX_TOKEN);
        assert!(sealer.open(purpose, &token).is_ok());
        assert_eq!(sealer.seal(purpose, &vec![0; fits + 1]), Err(SealError::TooLong));
        assert_eq!(sealer.open(purpose, &format!("{token}A")), Err(Unsealed::TooLong));
    }
}

#[test]
fn a_key_shows_its_id_only() {
    let key = key(7);
    assert_eq!(format!("{key:?}"), format!("Key({})", key.id()));
    assert_eq!(key.id().to_string().len(), 8);
    assert_ne!(key.id(), self::key(8).id());
    assert!(Key::new(&[0; 31]).is_err() && Key::new(&[0; 33]).is_err());
    assert_ne!(Key::generate().unwrap(), Key::generate().unwrap());
}

#[test]
fn a_session_comes_back_as_it_was() {
    let sealer = sealer();
    let session = session();
    let opened = RedirectedSession::open(&sealer, &session.seal(&sealer).unwrap(), owner(), NOW + DAY).unwrap();
    assert_eq!(
        serde_json::to_string(&opened).unwrap(),
        serde_json::to_string(&session).unwrap()
    );
    assert_eq!(opened.initialize.unwrap().get(), r#"{"capabilities": {},"x":1.50}"#);

    let session = GatewaySession {
        owner: owner(),
        revision: "2025-11-25".to_owned(),
        client_info: Some(raw(r#"{"name":"ü"}"#)),
        capabilities: None,
        catalog: Some("research".to_owned()),
        issued: NOW,
        nonce: Nonce::random().unwrap(),
    };
    let token = session.seal(&sealer).unwrap();
    let opened = GatewaySession::open(&sealer, &token, owner(), NOW).unwrap();
    assert_eq!(
        serde_json::to_string(&opened).unwrap(),
        serde_json::to_string(&session).unwrap()
    );
    assert_eq!(
        RedirectedSession::open(&sealer, &token, owner(), NOW).unwrap_err(),
        TokenError::Forged
    );
}

#[test]
fn the_largest_session_fits_a_header() {
    let most = raw(&format!("\"{}\"", "x".repeat(MAX_KEPT - 2)));
    let session = GatewaySession {
        owner: owner(),
        revision: "2025-11-25".to_owned(),
        client_info: kept(Some(&most)),
        capabilities: kept(Some(&most)),
        catalog: Some("c".repeat(253)),
        issued: NOW,
        nonce: Nonce::random().unwrap(),
    };
    assert!(session.client_info.is_some() && session.seal(&sealer()).is_ok());
    assert!(kept(Some(&raw(&format!("\"{}\"", "x".repeat(MAX_KEPT - 1))))).is_none());
}

#[test]
fn a_usual_session_is_short() {
    let session = RedirectedSession {
        upstream: "1868a90c-5eb9-4f6d-8a5e-0a4d6a9f2c11".to_owned(),
        initialize: None,
        ..session()
    };
    let length = session.seal(&sealer()).unwrap().len();
    assert!(length < 400, "{length}");
}

#[test]
fn another_owner_learns_no_more_than_from_a_forgery() {
    let sealer = sealer();
    let token = session().seal(&sealer).unwrap();
    let foreign = RedirectedSession::open(&sealer, &token, Owner::of("somebody else"), NOW).unwrap_err();
    let forged = RedirectedSession::open(&sealer, "AAAA", owner(), NOW).unwrap_err();
    let expired = RedirectedSession::open(&sealer, &token, owner(), NOW + 8 * DAY).unwrap_err();
    assert_eq!(
        (foreign, forged, expired),
        (TokenError::Foreign, TokenError::Forged, TokenError::Expired)
    );
    assert_eq!(foreign.to_string(), forged.to_string());
    assert_eq!(expired.to_string(), forged.to_string());
    assert_ne!(foreign.reason(), forged.reason());
    // Not even of its age does another owner learn.
    let old = RedirectedSession::open(&sealer, &token, Owner::of("somebody else"), NOW + 8 * DAY);
    assert_eq!(old.unwrap_err(), TokenError::Foreign);
}

#[test]
fn a_clock_that_is_ahead_expires_nothing() {
    let sealer = sealer();
    let token = session().seal(&sealer).unwrap();
    assert!(RedirectedSession::open(&sealer, &token, owner(), NOW - 100).is_ok());
}

#[test]
fn a_cursor_is_for_its_list() {
    let sealer = sealer();
    let cursor = Cursor {
        kind: ListKind::Tools,
        catalog: Some("research".to_owned()),
        owner: owner(),
        position: "tools/calculator add".to_owned(),
        issued: NOW,
    };
    let token = cursor.seal(&sealer).unwrap();
    let open = |list, now| Cursor::open_for(list, &sealer, &token, owner(), now);
    assert_eq!(open((ListKind::Tools, Some("research")), NOW), Ok(cursor.clone()));
    assert_eq!(
        open((ListKind::Prompts, Some("research")), NOW),
        Err(TokenError::Forged)
    );
    assert_eq!(open((ListKind::Tools, None), NOW), Err(TokenError::Forged));
    assert_eq!(
        open((ListKind::Tools, Some("research")), NOW + DAY),
        Err(TokenError::Expired)
    );
}

#[test]
fn ids_of_requests_and_tasks_name_their_server_and_keep_the_id_as_written() {
    let sealer = sealer();
    let request = ServerRequest {
        server: "tools/calculator".to_owned(),
        session: "s".to_owned(),
        id: raw(r#""a\u0062""#),
        owner: owner(),
    };
    let token = request.seal(&sealer).unwrap();
    assert_eq!(token, request.seal(&sealer).unwrap());
    let opened = ServerRequest::open(&sealer, &token, owner(), u64::MAX).unwrap();
    assert_eq!(opened.id.get(), r#""a\u0062""#);

    let token = task().seal(&sealer).unwrap();
    assert_eq!(Task::open(&sealer, &token, owner(), u64::MAX), Ok(task()));
    assert_eq!(Task::open(&sealer, &token, Owner::of("x"), 0), Err(TokenError::Foreign));
}

proptest! {
    #[test]
    fn no_changed_token_opens(content in prop::collection::vec(any::<u8>(), 0..40), at: prop::sample::Index, to: char) {
        let sealer = sealer();
        for purpose in PURPOSES {
            let token = sealer.seal(purpose, &content).unwrap();
            prop_assert_eq!(sealer.open(purpose, &token), Ok(content.clone()));
            let at = at.index(token.len());
            let mut changed = token.clone();
            changed.replace_range(at..=at, &to.to_string());
            prop_assert_eq!(sealer.open(purpose, &changed).is_ok(), changed == token);
            prop_assert!(sealer.open(purpose, &token[..at]).is_err());
        }
    }

    #[test]
    fn nothing_panics_on_what_is_no_token(text in ".{0,80}") {
        for purpose in PURPOSES {
            prop_assert!(sealer().open(purpose, &text).is_err());
        }
    }
}

#[test]
fn a_token_that_is_remembered_is_opened_as_strictly_as_a_new_one() {
    let sealer = sealer();
    let memo = Memo::<GatewaySession>::default();
    let (owner, other) = (Owner::of("a"), Owner::of("b"));
    let session = GatewaySession {
        owner,
        revision: "2025-11-25".to_owned(),
        client_info: None,
        capabilities: None,
        catalog: None,
        issued: 1_000,
        nonce: Nonce::random().unwrap(),
    };
    let text = session.seal(&sealer).unwrap();
    let open = |owner, now| memo.open(&sealer, &text, owner, now).map(|opened| opened.nonce);
    assert_eq!(open(other, 1_000), Err(TokenError::Foreign));
    for _ in 0..2 {
        assert_eq!(open(owner, 1_000), Ok(session.nonce));
    }
    assert_eq!(open(other, 1_000), Err(TokenError::Foreign));
    assert_eq!(open(owner, 1_000 + 8 * 24 * 3_600), Err(TokenError::Expired));
    let changed = format!("{}A", &text[..text.len() - 1]);
    assert!(changed == text || memo.open(&sealer, &changed, owner, 1_000).is_err());
    assert_eq!(open(owner, 1_000), Ok(session.nonce));
    sealer.replace(Keys {
        current: key(2),
        previous: None,
    });
    assert_eq!(open(owner, 1_000), Err(TokenError::Forged), "its key is gone");
}

use std::sync::Weak;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    mcp::version::Era,
    proxy::gateway::calls::{Cancel, InFlight},
};

fn whose(owner: &str) -> (Owner, Payer) {
    (Owner::of(owner), Payer::Workload(Owner::of(owner)))
}

/// A session that there was not before.
fn another(sessions: &Sessions, owner: &str) -> Option<Arc<Session>> {
    let key = Key::Own(Nonce::random().unwrap());
    sessions.get(key, whose(owner), Facts::of_the_gateway)
}

fn is_open(sessions: &Sessions, key: Key) -> bool {
    sessions.open.read().unwrap().contains_key(&key)
}

/// Makes what was used be unused for long.
fn age(sessions: &mut Sessions, session: &Session) {
    sessions.started = Instant::now() - SESSION_IDLE * 2;
    session.touch(0);
}

#[tokio::test]
async fn where_an_owner_has_too_many_sessions_the_oldest_goes_in_which_nothing_goes_on() {
    let sessions = Sessions::default();
    let used = another(&sessions, "a").unwrap();
    let unused = another(&sessions, "a").unwrap();
    for _ in 2..MAX_SESSIONS_PER_OWNER {
        another(&sessions, "a").unwrap();
    }
    // Used seconds ago, and later than two of them.
    sessions
        .open
        .read()
        .unwrap()
        .values()
        .for_each(|session| session.touch(1));
    unused.touch(0);
    used.touch(0);
    let key = unused.key;
    drop(unused);
    let one_more = another(&sessions, "a").unwrap();
    assert!(is_open(&sessions, used.key) && is_open(&sessions, one_more.key));
    assert!(!is_open(&sessions, key));
}

#[tokio::test]
async fn where_something_goes_on_in_all_sessions_of_an_owner_it_gets_no_other_and_others_do() {
    let sessions = Sessions::default();
    let mut used: Vec<_> = (0..MAX_SESSIONS_PER_OWNER)
        .map(|_| another(&sessions, "a").unwrap())
        .collect();
    assert!(another(&sessions, "a").is_none());
    assert!(another(&sessions, "b").is_some());
    assert!(
        sessions.get(used[0].key, whose("a"), Facts::of_the_gateway).is_some(),
        "it still has those that it has"
    );
    drop(used.pop());
    assert!(another(&sessions, "a").is_some());
}

#[tokio::test]
async fn a_shared_session_with_a_call_in_flight_is_not_idle_however_long_the_call_takes() {
    let mut sessions = Sessions::default();
    let owner = Owner::of("a");
    let session = sessions
        .get(Key::Shared(owner), whose("a"), Facts::of_the_gateway)
        .unwrap();
    let id: Box<RawValue> = serde_json::from_str("7").unwrap();
    let call = InFlight::begin(&session, &id, Era::Modern, Cancel::token(&CancellationToken::new()));
    age(&mut sessions, &session);
    drop(session);
    sessions.sweep();
    assert!(is_open(&sessions, Key::Shared(owner)));
    drop(call);
    sessions.sweep();
    assert!(!is_open(&sessions, Key::Shared(owner)));
}

#[tokio::test]
async fn of_many_clients_that_go_away_at_once_a_server_hears_of_a_few_at_a_time() {
    let sessions = Sessions::default();
    let owner = Owner::of("a");
    let session = sessions
        .get(Key::Shared(owner), whose("a"), Facts::of_the_gateway)
        .unwrap();
    let id: Box<RawValue> = serde_json::from_str("7").unwrap();
    let notice = || Cancel::Notice {
        link: Weak::new(),
        id: id.clone(),
    };
    let abandon = |cancel| drop(InFlight::begin(&session, &id, Era::Modern, cancel));
    (0..2 * MAX_NOTICES_PER_OWNER).for_each(|_| abandon(notice()));
    // None of them has begun: nothing was waited for.
    assert_eq!(Handle::current().metrics().num_alive_tasks(), MAX_NOTICES_PER_OWNER);
    let other = another(&sessions, "a").unwrap();
    assert_eq!(
        other.notices.available_permits(),
        0,
        "all sessions of the owner share them"
    );
    assert_eq!(
        another(&sessions, "b").unwrap().notices.available_permits(),
        MAX_NOTICES_PER_OWNER
    );
    let token = CancellationToken::new();
    abandon(Cancel::token(&token));
    assert!(token.is_cancelled(), "where no server is told none has to have time");
    while session.notices.available_permits() < MAX_NOTICES_PER_OWNER {
        tokio::task::yield_now().await;
    }
}

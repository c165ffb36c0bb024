use std::sync::Weak;

use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    mcp::version::Era,
    proxy::gateway::{
        calls::{Cancel, InFlight},
        limits::{MAX_NOTICES_PER_WORKLOAD, MAX_ORPHANS_PER_WORKLOAD},
    },
};

fn whose(owner: &str) -> (Owner, Payer) {
    (Owner::of(owner), Payer::Workload(Owner::of(owner)))
}

/// The payer is a workload, and the owner somebody that it speaks for.
fn user_of(workload: &str, user: usize) -> (Owner, Payer) {
    (Owner::of(&format!("{workload} {user}")), whose(workload).1)
}

/// A session that there was not before.
fn another(sessions: &Sessions, owner: &str) -> Option<Arc<Session>> {
    another_of(sessions, whose(owner))
}

fn another_of(sessions: &Sessions, whose: (Owner, Payer)) -> Option<Arc<Session>> {
    let key = Key::Own(Nonce::random().unwrap());
    sessions.get(key, whose, Facts::of_the_gateway)
}

fn is_open(sessions: &Sessions, key: Key) -> bool {
    let open = sessions.open.read().unwrap();
    open.all().any(|session| session.key == key)
}

/// How many sessions are open in all, and of this workload.
fn count(sessions: &Sessions, workload: &str) -> (usize, usize) {
    let open = sessions.open.read().unwrap();
    assert_eq!(open.count, open.all().count());
    (open.count, open.of(whose(workload).1).count())
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
    for _ in 2..MAX_SESSIONS_PER_WORKLOAD {
        another(&sessions, "a").unwrap();
    }
    // Used seconds ago, and later than two of them.
    sessions.open.read().unwrap().all().for_each(|session| session.touch(1));
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
    let mut used: Vec<_> = (0..MAX_SESSIONS_PER_WORKLOAD)
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
async fn a_workload_that_speaks_for_many_has_no_more_sessions_than_one_that_speaks_for_none() {
    let sessions = Sessions::default();
    let others = another(&sessions, "b").unwrap().key;
    for user in 0..MAX_SESSIONS_PER_WORKLOAD + 10 {
        another_of(&sessions, user_of("a", user)).unwrap();
    }
    assert_eq!(
        count(&sessions, "a"),
        (MAX_SESSIONS_PER_WORKLOAD + 1, MAX_SESSIONS_PER_WORKLOAD)
    );
    assert!(
        is_open(&sessions, others),
        "its own are forgotten, though another's is older"
    );
}

#[tokio::test]
async fn where_all_sessions_are_taken_the_oldest_of_any_workload_goes() {
    let sessions = Sessions::default();
    let oldest = another(&sessions, "oldest").unwrap().key;
    let workloads = MAX_SESSIONS / MAX_SESSIONS_PER_WORKLOAD;
    for workload in 0..workloads {
        let of_this = MAX_SESSIONS_PER_WORKLOAD - usize::from(workload == 0);
        for _ in 0..of_this {
            another(&sessions, &workload.to_string()).unwrap();
        }
    }
    let open = sessions.open.read().unwrap();
    open.all()
        .filter(|session| session.key != oldest)
        .for_each(|session| session.touch(1));
    drop(open);
    another(&sessions, "newest").unwrap();
    assert_eq!(count(&sessions, "newest"), (MAX_SESSIONS, 1));
    assert_eq!(count(&sessions, "oldest").1, 0);
    // One that has its share makes room for itself, and not at the cost of others.
    another(&sessions, "1").unwrap();
    assert_eq!(count(&sessions, "1"), (MAX_SESSIONS, MAX_SESSIONS_PER_WORKLOAD));
    assert_eq!(count(&sessions, "0").1, MAX_SESSIONS_PER_WORKLOAD - 1);
}

#[tokio::test]
async fn what_goes_on_after_its_session_was_ended_still_counts_for_its_workload() {
    let sessions = Sessions::default();
    let mut orphans = Vec::new();
    for user in 0..MAX_ORPHANS_PER_WORKLOAD {
        let session = another_of(&sessions, user_of("a", user)).unwrap();
        orphans.push(session.rooms.orphans.take(session.payer).unwrap());
        sessions.end(&session);
    }
    assert_eq!(count(&sessions, "a"), (0, 0));
    let next = another(&sessions, "a").unwrap();
    assert!(!next.rooms.orphans.has_room(next.payer));
    let other = another(&sessions, "b").unwrap();
    assert!(other.rooms.orphans.has_room(other.payer));
    orphans.pop();
    assert!(next.rooms.orphans.has_room(next.payer));
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
    (0..2 * MAX_NOTICES_PER_WORKLOAD).for_each(|_| abandon(notice()));
    // None of them has begun: nothing was waited for.
    assert_eq!(Handle::current().metrics().num_alive_tasks(), MAX_NOTICES_PER_WORKLOAD);
    let has_room = |session: &Session| session.rooms.notices.has_room(session.payer);
    let of_a_user = another_of(&sessions, user_of("a", 1)).unwrap();
    assert!(!has_room(&of_a_user), "all sessions of the workload share it");
    assert!(has_room(&another(&sessions, "b").unwrap()));
    let token = CancellationToken::new();
    abandon(Cancel::token(&token));
    assert!(token.is_cancelled(), "where no server is told none has to have time");
    while session.rooms.notices.taken() > 0 {
        tokio::task::yield_now().await;
    }
}

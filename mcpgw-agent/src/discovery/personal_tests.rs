//! The bounds of what is kept of single principals.

use std::time::SystemTime;

use super::*;
use crate::{
    discovery::{Discovery, Snapshot, Speaks, catalogue::Capabilities},
    pins::Pins,
    resources::ObjectName,
    telemetry::{AuditSink, Telemetry, TelemetryOptions},
    upstream::Upstreams,
};

fn server() -> Arc<Server> {
    let name = ObjectName {
        namespace: "tools".into(),
        name: "calc".into(),
    };
    Arc::new(Server::at(name, vec!["127.0.0.1:1".parse().unwrap()]))
}

fn key(principal: usize) -> Key {
    (Owner::of(&principal.to_string()), server().name.clone())
}

/// The slot of a principal that used it so long after `start`.
fn slot(start: Instant, used: usize, bytes: usize) -> Slot {
    let catalogue = Catalogue {
        speaks: Speaks::default(),
        features: Capabilities::default(),
        extensions: Default::default(),
        instructions: None,
        tools: Vec::new().into(),
        prompts: Vec::new(),
        resources: Vec::new(),
        templates: Vec::new(),
        templates_left_out: 0,
        fetched: SystemTime::UNIX_EPOCH,
        is_private: true,
        ttl: None,
    };
    let seen = Seen {
        catalogue: Arc::new(catalogue),
        at: start,
        bytes,
    };
    Slot {
        id: 0,
        server: server(),
        seen: Some(seen),
        changed: false,
        asking: None,
        retry: None,
        pause: BACKOFF.0,
        used: start + Duration::from_secs(used as u64),
        answered: watch::Sender::default(),
    }
}

fn put(table: &mut Table, principal: usize, slot: Slot) {
    table.bytes += slot.seen.as_ref().map_or(0, |seen| seen.bytes);
    table.slots.insert(key(principal), slot);
}

#[test]
fn the_catalogue_that_was_unused_for_longest_goes_first() {
    let (mut table, start) = (Table::default(), Instant::now());
    for principal in 0..MAX_PERSONAL {
        put(&mut table, principal, slot(start, principal + 1, 1));
    }
    table.slots.get_mut(&key(0)).unwrap().used = start + Duration::from_secs(1_000_000);
    table.make_room(0, 1);
    assert_eq!((table.slots.len(), table.bytes), (MAX_PERSONAL - 1, MAX_PERSONAL - 1));
    assert!(table.slots.contains_key(&key(0)) && !table.slots.contains_key(&key(1)));
}

#[test]
fn a_list_is_as_old_as_its_server_says_and_a_call_goes_by_one_that_is_older() {
    let start = Instant::now();
    let holding = |ttl: u64| {
        let mut slot = slot(start, 0, 0);
        let seen = slot.seen.as_mut().unwrap();
        Arc::get_mut(&mut seen.catalogue).unwrap().ttl = Some(Duration::from_secs(ttl));
        slot
    };
    let after = |slot: &Slot, seconds: u64| {
        let now = start + Duration::from_secs(seconds);
        (slot.is_current(now, true), slot.is_current(now, false))
    };
    assert_eq!(after(&holding(5), 4), (true, true));
    assert_eq!(after(&holding(5), 6), (false, true));
    assert_eq!(after(&holding(0), 2), (false, true));
    assert_eq!(after(&holding(1_000_000), 61), (false, false));
    let mut changed = holding(5);
    changed.changed = true;
    assert_eq!(after(&changed, 1), (false, false));
}

#[test]
fn all_of_them_together_are_bounded_in_bytes() {
    let (mut table, start) = (Table::default(), Instant::now());
    let share = MAX_ALL_PERSONAL_BYTES / 4;
    for principal in 0..4 {
        put(&mut table, principal, slot(start, principal, share));
    }
    table.make_room(share + 1, 0);
    assert_eq!((table.slots.len(), table.bytes), (2, 2 * share));
    assert!(table.slots.contains_key(&key(2)) && table.slots.contains_key(&key(3)));
}

#[tokio::test]
async fn no_more_principals_are_known_than_the_bound_whoever_asks() {
    let dir = tempfile::tempdir().unwrap();
    let telemetry = Telemetry::new(TelemetryOptions {
        node: "n".to_owned(),
        audit: AuditSink::File(dir.path().join("audit.log")),
        audit_export: None,
        traces: None,
    });
    let pins = Pins::new(dir.path().join("pins"), telemetry.unwrap());
    let known = Discovery::new(Upstreams::new(Handle::current()), Handle::current(), pins);
    let server = server();
    known.upstreams.put_in_force(&[Arc::clone(&server)]);
    let snapshot = Snapshot::default();
    for principal in 0..MAX_PERSONAL + 10 {
        let who = Principal {
            owner: Owner::of(&principal.to_string()),
            behalf: None,
        };
        let (own, _) = known.offered_now(&who, &[Arc::clone(&server)], &snapshot, false);
        assert!(own.of(&server.name).unwrap().is_none());
    }
    assert_eq!(known.known.personal.table().slots.len(), MAX_PERSONAL);
    // Of one that is no longer in force nothing is kept.
    known.put_in_force(&[]);
    assert!(known.known.personal.table().slots.is_empty());
}

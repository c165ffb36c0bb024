//! Calls whose answers come on another stream, and calls that are cancelled.

use std::time::Duration;

use serde_json::{Value, value::to_raw_value};

use super::*;
use crate::{
    identity::Caller,
    mcp::{params::Meta, seal::Owner},
    telemetry::{AuditSink, CallStart, Carried, Keeping, Path, Telemetry, TelemetryOptions},
};

struct Bench {
    pending: Arc<Pending>,
    telemetry: Arc<Telemetry>,
    audit: tempfile::TempDir,
    key: StreamKey,
}

impl Bench {
    fn new() -> Self {
        let audit = tempfile::tempdir().unwrap();
        let telemetry = Telemetry::new(TelemetryOptions {
            node: "node".to_owned(),
            audit: AuditSink::File(audit.path().join("audit.log")),
            audit_export: None,
            traces: None,
        });
        Self {
            pending: Arc::default(),
            telemetry: telemetry.unwrap(),
            audit,
            key: Nonce::random().unwrap(),
        }
    }

    fn begin(&self, id: u32) -> PendingCall {
        let id = to_raw_value(&id).unwrap();
        self.pending
            .begin(Payer::Workload(Owner::of("a")), self.key, &id)
            .unwrap()
    }

    /// A call whose answer comes on the session's stream.
    fn wait(&self, id: u32) {
        self.begin(id).wait(self.record(), Outcome::Ok);
    }

    fn record(&self) -> Record {
        let caller = Arc::new(Caller {
            workload: None,
            token: None,
            destination: ([127, 0, 0, 1], 80).into(),
            client: None,
            process: None,
            observed: false,
        });
        let (headers, meta) = (http::HeaderMap::new(), Meta::default());
        let carried = Carried {
            headers: &headers,
            version: http::Version::HTTP_11,
            meta: &meta,
        };
        let start = CallStart::new(
            caller,
            Path::Redirected,
            "tools/call",
            Instant::now(),
            carried,
            Keeping::default(),
        );
        self.telemetry.call(start)
    }

    /// The server says something on the session's stream.
    fn say(&self, message: &str) {
        let event = format!("data: {message}\n\n");
        let mut watch = StreamWatch::new(&self.pending, self.key, Carries::Any, Payer::Agent);
        watch.feed(&event.into());
    }

    fn cancel(&self, id: u32) {
        self.pending.cancel(self.key, &id.to_string());
    }

    /// How many calls are known.
    fn known(&self) -> usize {
        let streams = self.pending.lock(&self.key);
        streams
            .values()
            .flat_map(|stream| stream.calls.values())
            .map(Vec::len)
            .sum()
    }

    /// What became of the calls that are over.
    fn outcomes(self) -> Vec<Value> {
        assert!(self.telemetry.shutdown());
        let text = std::fs::read_to_string(self.audit.path().join("audit.log")).unwrap();
        let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["outcome"].take();
        text.lines().map(line).collect()
    }
}

const ANSWER: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#;

#[test]
fn calls_of_the_same_id_are_each_on_record_until_each_has_its_answer() {
    let bench = Bench::new();
    (0..3).for_each(|_| bench.wait(7));
    for left in [2, 1, 0] {
        bench.say(ANSWER);
        assert_eq!(bench.known(), left);
    }
    assert_eq!(bench.outcomes(), ["ok"; 3]);
}

#[test]
fn a_call_that_was_cancelled_is_on_record_until_its_answer_came() {
    let bench = Bench::new();
    bench.wait(7);
    bench.cancel(7);
    assert_eq!(bench.known(), 1);
    bench.say(ANSWER);
    assert_eq!(bench.known(), 0);
    assert_eq!(bench.outcomes(), ["ok"]);
}

#[test]
fn a_call_that_was_cancelled_and_gets_no_answer_ends_as_cancelled_and_before_others() {
    let bench = Bench::new();
    bench.wait(7);
    bench.wait(8);
    let early = bench.begin(9);
    bench.cancel(7);
    bench.cancel(9);
    early.wait(bench.record(), Outcome::Ok);
    bench.pending.forget(Instant::now());
    assert_eq!(bench.known(), 3);
    bench
        .pending
        .forget(Instant::now() + CANCELLED_TIME + Duration::from_secs(1));
    assert_eq!(bench.known(), 1, "the one that was not cancelled");
    bench
        .pending
        .forget(Instant::now() + PENDING_TIME + Duration::from_secs(1));
    assert!(bench.pending.lock(&bench.key).is_empty());
    assert_eq!(bench.outcomes(), ["cancelled", "cancelled", "ok"]);
}

#[test]
fn nothing_is_remembered_of_the_cancellation_of_a_call_that_is_not_there() {
    let bench = Bench::new();
    bench.cancel(7);
    assert!(bench.pending.lock(&bench.key).is_empty());
    let call = bench.begin(7);
    assert!(!call.was_cancelled());
    bench.cancel(8);
    bench.cancel(7);
    assert!(call.was_cancelled());
    drop(call);
    assert!(bench.pending.lock(&bench.key).is_empty());
    assert!(!bench.begin(7).was_cancelled(), "another call");
}

#[test]
fn a_workload_that_has_all_its_calls_takes_no_room_from_others() {
    let bench = Bench::new();
    let id = to_raw_value(&7).unwrap();
    let begin = |workload: &str, key: StreamKey| bench.pending.begin(Payer::Workload(Owner::of(workload)), key, &id);
    let mut calls: Vec<PendingCall> = (0..MAX_PENDING_PER_WORKLOAD)
        .map(|_| begin("a", Nonce::random().unwrap()).unwrap())
        .collect();
    assert!(begin("a", bench.key).is_none());
    assert!(begin("b", bench.key).is_some());
    calls.pop();
    begin("a", bench.key).unwrap().wait(bench.record(), Outcome::Ok);
    assert!(begin("a", bench.key).is_none(), "a call that waits takes room too");
    bench.pending.abandon(&bench.key);
    assert!(begin("a", bench.key).is_some());
}

#[test]
fn an_answer_that_comes_before_its_call_waits_is_that_calls_answer() {
    let bench = Bench::new();
    let call = bench.begin(7);
    let mut watch = StreamWatch::new(&bench.pending, bench.key, Carries::All, Payer::Agent);
    watch.feed(&format!("data: {ANSWER}\n\n").into());
    call.wait(bench.record(), Outcome::Error);
    assert!(bench.pending.lock(&bench.key).is_empty());
    assert_eq!(bench.outcomes(), ["ok"]);
}

#[test]
fn calls_of_long_ids_are_found_too_and_the_ids_are_not_kept() {
    let bench = Bench::new();
    let long = format!("\"{}\"", "x".repeat(MAX_PENDING_ID));
    let id = serde_json::from_str::<Box<RawValue>>(&long).unwrap();
    let call = bench
        .pending
        .begin(Payer::Workload(Owner::of("a")), bench.key, &id)
        .unwrap();
    assert!(call.id.len() < MAX_PENDING_ID);
    call.wait(bench.record(), Outcome::Error);
    bench.say(&ANSWER.replace('7', &long));
    assert_eq!(bench.outcomes(), ["ok"]);
}

//! The log as its users see it, with sinks that block, fail or are real files.

mod parts;
mod place;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant, SystemTime},
};

use super::{
    queue::{MINOR, QUEUE, REFUSALS},
    *,
};
use crate::{
    identity::{Caller, WorkloadIdentity},
    resources::ObjectName,
    telemetry::{Outcome, Path as CallPath, listed::ListCount},
};

/// So many workloads together fill what there is.
const WORKLOADS: usize = 8;

fn workload(number: usize) -> Arc<WorkloadIdentity> {
    let workload = ObjectName {
        namespace: "agents".into(),
        name: number.to_string().into(),
    };
    Arc::new(WorkloadIdentity::new(workload, "ci".into()))
}

/// Of one of some workloads.
fn refusal(number: usize) -> Refusal {
    let who = Who::Workload(workload(number % WORKLOADS));
    Refusal {
        time: SystemTime::UNIX_EPOCH,
        path: CallPath::Redirected,
        reason: "tls",
        status: None,
        who,
    }
}

/// Of one of some workloads.
fn call(number: usize) -> ToolCall {
    ToolCall {
        time: SystemTime::UNIX_EPOCH,
        caller: Arc::new(Caller {
            workload: Some(workload(number % WORKLOADS)),
            token: None,
            destination: "10.0.0.1:80".parse().unwrap(),
            client: None,
            process: None,
            observed: false,
        }),
        path: CallPath::Gateway,
        server: Some(ObjectName {
            namespace: "tools".into(),
            name: "calc".into(),
        }),
        reason: None,
        listed: None,
        beyond: None,
        client: None,
        arguments_hash: None,
        method: "tools/call".to_owned(),
        kind: crate::mcp::governed::Kind::Tool,
        name: number.to_string(),
        called_as: "add".to_owned(),
        request_id: None,
        decision: "allow",
        rule: None,
        engine: None,
        decision_id: String::new(),
        outcome: Outcome::Ok,
        is_error: None,
        status: Some(200),
        duration: Duration::ZERO,
        overhead: Duration::ZERO,
        request_bytes: 0,
        response_bytes: 0,
        trace_id: None,
        payload: None,
    }
}

fn denied(number: usize) -> ToolCall {
    ToolCall {
        outcome: Outcome::Denied,
        ..call(number)
    }
}

fn list(number: usize) -> ToolCall {
    ToolCall {
        listed: Some(ListCount::default()),
        ..call(number)
    }
}

/// Of a client that begins.
fn opening(number: usize) -> ToolCall {
    ToolCall {
        client: Some(Box::default()),
        ..call(number)
    }
}

/// As settings say that are in force now.
fn push(audit: &Audit, call: ToolCall) {
    audit.tool_call(call, **audit.now.load());
}

/// Says when a write begins, then blocks until it is released.
struct Gate {
    begun: Sender<Vec<u8>>,
    released: Receiver<()>,
}

impl Sink for Gate {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.begun.send(lines.to_vec()).unwrap();
        let _ = self.released.recv();
        Ok(())
    }
}

/// A log whose first line, a call's, is being written and goes no further.
fn stuck() -> (Audit, Receiver<Vec<u8>>, Sender<()>) {
    let (begun, began) = channel();
    let (release, released) = channel();
    let audit = Audit::over(
        "n",
        AuditSink::Stdout,
        Box::new(Gate { begun, released }),
        Arc::default(),
    )
    .unwrap();
    push(&audit, call(0));
    began.recv().unwrap();
    (audit, began, release)
}

fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[test]
fn a_full_queue_is_counted_and_what_was_queued_is_written_at_shutdown() {
    let (audit, began, release) = stuck();
    for number in 1..QUEUE + 3 {
        push(&audit, call(number));
    }
    assert_eq!(audit.health().lost, 3);
    assert_eq!(audit.health().waiting, QUEUE);
    drop(release);
    assert!(audit.shutdown());
    let written: Vec<Vec<u8>> = began.iter().collect();
    // One says what became of the others.
    assert_eq!(written.iter().map(|batch| lines(batch)).sum::<usize>(), QUEUE - 1 + 1);
    assert_eq!(said_lost(&written), [3]);
    push(&audit, call(0));
    assert_eq!(
        audit.health(),
        AuditHealth {
            waiting: 0,
            lost: 4,
            error: None
        }
    );
}

/// What lines say of others that are lost.
fn said_lost(batches: &[Vec<u8>]) -> Vec<u64> {
    let text = String::from_utf8(batches.concat()).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines
        .filter(|line| line["event"] == "lines_lost")
        .map(|line| line["lines"].as_u64().unwrap())
        .collect()
}

#[test]
fn refusals_that_are_lost_in_a_flood_are_said_in_the_log_also_where_calls_wait_for_room() {
    let (audit, began, release) = stuck();
    audit.set(&AuditSettings {
        on_full: OnFull::Block,
        ..AuditSettings::default()
    });
    for number in 0..REFUSALS + 5 {
        audit.refused(refusal(number));
    }
    drop(release);
    until(|| audit.health().waiting == 0);
    for _ in 0..2 {
        audit.refused(refusal(0));
    }
    assert!(audit.shutdown());
    let written: Vec<Vec<u8>> = began.iter().collect();
    assert_eq!(said_lost(&written), [5], "once");
    let said = written.concat();
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().last().unwrap();
    assert!(!last.contains("lines_lost"), "before what came later: {last}");
}

#[test]
fn that_lines_are_lost_is_said_when_the_log_can_be_written_to_again() {
    struct Flaky(Sender<Vec<u8>>, Arc<AtomicBool>);
    impl Sink for Flaky {
        fn write(&mut self, lines: &[u8]) -> io::Result<()> {
            if self.1.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.send(lines.to_vec()).map_err(io::Error::other)
        }
    }
    let (sender, written) = channel();
    let full = Arc::new(AtomicBool::new(true));
    let audit = Audit::over(
        "n",
        AuditSink::Stdout,
        Box::new(Flaky(sender, Arc::clone(&full))),
        Arc::default(),
    )
    .unwrap();
    for number in 1..=2 {
        push(&audit, call(number));
        until(|| audit.health().lost == number as u64);
    }
    full.store(false, Ordering::Relaxed);
    push(&audit, call(3));
    assert!(audit.shutdown());
    let written: Vec<Vec<u8>> = written.try_iter().collect();
    assert_eq!(said_lost(&written), [2]);
}

#[test]
fn a_flood_of_refusals_leaves_room_for_calls() {
    let (audit, _began, release) = stuck();
    for number in 0..REFUSALS + 5 {
        audit.refused(refusal(number));
    }
    assert_eq!(audit.health().lost, 5);
    for number in 1..QUEUE - REFUSALS {
        push(&audit, call(number));
    }
    assert_eq!(audit.health().lost, 5, "every call has its line");
    drop(release);
    assert!(audit.shutdown());
    audit.refused(refusal(0));
    assert_eq!(audit.health().lost, 6, "the log is over");
}

#[test]
fn neither_lists_nor_denied_calls_nor_openings_nor_refusals_take_the_room_of_calls() {
    let (audit, _began, release) = stuck();
    for number in 0..QUEUE {
        push(&audit, list(number));
    }
    for number in 0..MINOR {
        push(&audit, denied(number));
    }
    assert_eq!(audit.health().lost, (QUEUE - MINOR) as u64, "lists only");
    for number in 0..QUEUE {
        push(&audit, denied(number));
        push(&audit, opening(number));
        audit.refused(refusal(number));
    }
    let lost = audit.health().lost;
    for number in 1..QUEUE - REFUSALS - 3 * MINOR {
        push(&audit, call(number));
    }
    assert_eq!(audit.health().lost, lost, "every call has its line");
    audit.set(&AuditSettings {
        on_full: OnFull::Block,
        ..AuditSettings::default()
    });
    push(&audit, denied(0));
    assert_eq!(audit.health().lost, lost, "where none may be lost none is");
    drop(release);
    assert!(audit.shutdown());
    assert_eq!(audit.health().waiting, 0);
}

#[tokio::test]
async fn where_none_may_be_lost_new_requests_wait_until_there_is_room() {
    let (audit, began, release) = stuck();
    audit.set(&AuditSettings {
        exported: false,
        on_full: OnFull::Block,
        ..AuditSettings::default()
    });
    assert!(audit.room(&call(0).caller).await);
    for number in 1..QUEUE + 10 {
        push(&audit, call(number));
    }
    assert_eq!(audit.health().lost, 0, "those that had begun have their lines");
    let audit = Arc::new(audit);
    let waiting = tokio::spawn({
        let audit = Arc::clone(&audit);
        async move { audit.room(&call(0).caller).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waiting.is_finished());
    drop(release);
    assert!(waiting.await.unwrap());
    assert!(audit.shutdown());
    assert_eq!(began.iter().map(|batch| lines(&batch)).sum::<usize>(), QUEUE + 9);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_stays_full_refuses_requests_after_a_while() {
    let (audit, _began, _release) = stuck();
    for number in 1..QUEUE {
        push(&audit, call(number));
    }
    audit.set(&AuditSettings {
        exported: false,
        on_full: OnFull::Block,
        ..AuditSettings::default()
    });
    let begun = tokio::time::Instant::now();
    assert!(!audit.room(&call(0).caller).await);
    assert_eq!(begun.elapsed(), ROOM_TIMEOUT);
    audit.set(&AuditSettings::default());
    assert!(audit.room(&call(0).caller).await, "the settings have changed");
}

/// The kernel's own full disk.
#[test]
fn a_full_disk_is_told_and_its_lines_are_counted_or_kept() {
    let full = || Audit::start("n", &AuditSink::File("/dev/full".into()), None).unwrap();
    let audit = full();
    push(&audit, call(1));
    until(|| audit.health().lost == 1);
    let error = audit.health().error.unwrap();
    assert!(error.contains("No space left"), "{error}");

    let audit = full();
    audit.set(&AuditSettings {
        exported: false,
        on_full: OnFull::Block,
        ..AuditSettings::default()
    });
    push(&audit, call(1));
    until(|| audit.health().error.is_some());
    assert_eq!((audit.health().lost, audit.health().waiting), (0, 1));
    assert!(audit.shutdown());
    assert_eq!(
        (audit.health().lost, audit.health().waiting),
        (1, 0),
        "the agent must end"
    );
}

#[test]
fn a_full_file_becomes_the_first_of_the_kept_ones_and_no_line_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let audit = Audit::start("n", &AuditSink::File(path.clone()), None).unwrap();
    audit.set(&AuditSettings {
        exported: false,
        max_size: 1_000,
        keep: 2,
        ..AuditSettings::default()
    });
    let numbered = |number: u32| directory.path().join(format!("audit.jsonl.{number}"));
    for number in 0..4 {
        push(&audit, call(2 * number));
        push(&audit, call(2 * number + 1));
        until(|| audit.health().waiting == 0);
    }
    assert!(audit.shutdown());
    assert_eq!(tools_in(&path), ["6", "7"]);
    assert_eq!(tools_in(&numbered(1)), ["4", "5"]);
    assert_eq!(tools_in(&numbered(2)), ["2", "3"]);
    assert!(!numbered(3).exists());
}

#[test]
fn a_file_that_was_renamed_or_removed_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let audit = Audit::start("n", &AuditSink::File(path.clone()), None).unwrap();
    let old = directory.path().join("old");
    for number in 0..3 {
        push(&audit, call(number));
        until(|| audit.health().waiting == 0);
        match number {
            0 => fs::rename(&path, &old).unwrap(),
            1 => fs::remove_file(&path).unwrap(),
            _ => {}
        }
    }
    assert!(audit.shutdown());
    assert_eq!(
        (tools_in(&old), tools_in(&path)),
        (vec!["0".to_owned()], vec!["2".to_owned()])
    );
}

fn tools_in(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(tool_in).collect()
}

fn tool_in(line: &str) -> String {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["tool"].as_str().unwrap().to_owned()
}

fn until(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(30), "never");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn lines_that_are_to_be_exported_and_cannot_be_are_lost_there_and_written_here() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let audit = Audit::start("n", &AuditSink::File(path.clone()), None).unwrap();
    audit.set(&AuditSettings {
        exported: true,
        ..AuditSettings::default()
    });
    push(&audit, call(1));
    assert!(audit.shutdown());
    assert_eq!(lines(&fs::read(&path).unwrap()), 1);
    let health = audit.health();
    assert_eq!((health.waiting, health.lost), (0, 1));
    assert!(health.error.unwrap().contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
    // What is no longer wanted is no longer said.
    audit.set(&AuditSettings::default());
    assert_eq!(audit.health().error, None);
}

#[test]
fn the_times_of_lines_have_all_their_digits() {
    let (audit, began, release) = stuck();
    drop(release);
    for seconds in [0, 1_735_689_600 + 3 * 3_600 + 4 * 60 + 5] {
        push(
            &audit,
            ToolCall {
                time: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(7),
                ..call(1)
            },
        );
    }
    assert!(audit.shutdown());
    let text: String = began.iter().map(|lines| String::from_utf8(lines).unwrap()).collect();
    let times = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["time"].clone());
    assert_eq!(
        times.collect::<Vec<_>>(),
        ["1970-01-01T00:00:00.007Z", "2025-01-01T03:04:05.007Z"]
    );
}

#[test]
fn a_line_is_kept_as_settings_said_when_its_request_was_decided() {
    let (audit, _began, release) = stuck();
    let collecting = AuditSettings {
        exported: true,
        on_full: OnFull::Block,
        ..AuditSettings::default()
    };
    let (plain, collected) = (Keeping::by(&AuditSettings::default()), Keeping::by(&collecting));
    audit.set(&collecting);
    audit.set(&AuditSettings::default());
    // It is told to a collector that is not there any more, and to nobody else.
    audit.tool_call(call(1), collected);
    until(|| audit.health().lost == 1);
    for number in 2..QUEUE + 1 {
        audit.tool_call(call(number), plain);
    }
    assert_eq!(audit.health().lost, 2, "the last of these");
    audit.tool_call(
        call(1),
        Keeping {
            exported: false,
            ..collected
        },
    );
    assert_eq!(audit.health().lost, 2, "it began when none was to be lost");
    drop(release);
    assert!(audit.shutdown());
}

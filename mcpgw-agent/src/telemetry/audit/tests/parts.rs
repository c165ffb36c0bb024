//! Which part of the queue a workload has.

use super::*;
use crate::telemetry::audit::queue::{FREE, OWN, PART};

/// As one workload sees it.
const MINE: usize = 0;
const OTHERS: usize = 1;

#[test]
fn one_workload_takes_half_of_the_queue_and_every_call_of_the_others_has_its_line() {
    let (audit, _began, release) = stuck();
    for _ in 0..QUEUE {
        push(&audit, call(MINE));
    }
    // The line that is being written waits, too.
    let lost = (QUEUE - (FREE + OWN - 1)) as u64;
    assert_eq!(audit.health().lost, lost);
    for number in 0..QUEUE - FREE - OWN {
        push(&audit, call(number % (WORKLOADS - 1) + OTHERS));
    }
    assert_eq!(audit.health().lost, lost);
    drop(release);
    until(|| audit.health().waiting == 0);
    push(&audit, call(MINE));
    assert_eq!(audit.health().lost, lost, "what is written makes room");
    assert!(audit.shutdown());
}

#[test]
fn one_workload_takes_half_of_the_room_for_lists_for_denials_for_openings_and_for_refusals() {
    let check = |room: usize, put: &dyn Fn(&Audit, usize)| {
        let (audit, _began, release) = stuck();
        for _ in 0..room {
            put(&audit, MINE);
        }
        let lost = (room - room / PART) as u64;
        assert_eq!(audit.health().lost, lost);
        for number in 0..room / PART {
            put(&audit, number % (WORKLOADS - 1) + OTHERS);
        }
        assert_eq!(audit.health().lost, lost, "the others have theirs");
        drop(release);
        assert!(audit.shutdown());
    };
    check(MINOR, &|audit, of| push(audit, list(of)));
    check(MINOR, &|audit, of| push(audit, denied(of)));
    check(MINOR, &|audit, of| push(audit, opening(of)));
    check(REFUSALS, &|audit, of| audit.refused(refusal(of)));
}

#[tokio::test(start_paused = true)]
async fn where_none_may_be_lost_a_workload_that_has_its_part_waits_and_the_others_go_on() {
    let (audit, began, release) = stuck();
    audit.set(&AuditSettings {
        on_full: OnFull::Block,
        ..AuditSettings::default()
    });
    for _ in 0..FREE + OWN + 5 {
        push(&audit, call(MINE));
    }
    assert_eq!(audit.health().lost, 0, "those that had begun have their lines");
    assert!(!audit.room(&call(MINE).caller).await);
    assert!(audit.room(&call(OTHERS).caller).await);
    drop(release);
    until(|| audit.health().waiting == 0);
    assert!(audit.room(&call(MINE).caller).await);
    assert!(audit.shutdown());
    assert_eq!(began.iter().map(|batch| lines(&batch)).sum::<usize>(), FREE + OWN + 5);
}

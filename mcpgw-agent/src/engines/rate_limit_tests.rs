use std::num::NonZeroU32;

use envoy_types::pb::{
    envoy::service::ratelimit::v3::rate_limit_response::{RateLimit, rate_limit::Unit as Counted},
    google::protobuf::Duration as Told,
};

use super::*;
use crate::{
    mcp::seal::Owner,
    policy::limits::{Budgets, Shared, Spender},
    resources::{self, Asking, ObjectName, Pattern, Rate, Scope},
};

fn question(requests: u32) -> Question {
    let requests = NonZeroU32::new(requests).unwrap();
    let wanted = resources::Limit {
        name: None,
        counts: vec![Pattern::new("*").unwrap()],
        tools: vec![],
        rate: Some(Rate {
            requests,
            per: Unit::Minute.window(),
            burst: requests,
        }),
        concurrency: None,
        key: vec![],
        scope: Scope::Cluster {
            unit: Unit::Minute,
            mode: None,
        },
    };
    let limit = crate::policy::limits::Limit::compile("tools/fair#limit-1", &wanted, false, Asking::InLine);
    let caller = crate::identity::Caller {
        workload: None,
        token: None,
        destination: "10.0.0.1:80".parse().unwrap(),
        client: None,
        process: None,
        observed: false,
    };
    let spender = Spender {
        caller: &caller,
        server: &ObjectName::default(),
        method: "tools/call",
        tool: None,
        tool_key: "",
    };
    let taken = Arc::new(Budgets::default()).take(&[&limit], &spender).unwrap();
    Question {
        descriptor: Descriptor::of(&limit, &spender).unwrap(),
        budget: taken.budget(0).unwrap(),
    }
}

fn status(code: Code, requests: u32, reset: Option<i64>) -> DescriptorStatus {
    DescriptorStatus {
        code: code.into(),
        current_limit: Some(RateLimit {
            name: String::new(),
            requests_per_unit: requests,
            unit: Counted::Minute.into(),
        }),
        duration_until_reset: reset.map(|seconds| Told { seconds, nanos: 0 }),
        ..DescriptorStatus::default()
    }
}

fn answer(code: Code, statuses: Vec<DescriptorStatus>) -> RateLimitResponse {
    RateLimitResponse {
        overall_code: code.into(),
        statuses,
        ..RateLimitResponse::default()
    }
}

fn seconds(number: u64) -> Option<Duration> {
    Some(Duration::from_secs(number))
}

#[test]
fn a_descriptor_brings_its_quota() {
    let message = message(&question(7).descriptor);
    let limit = message.limit.unwrap();
    assert_eq!(
        (limit.requests_per_unit, limit.unit()),
        (7, RateLimitUnit::Minute),
        "the service's own configuration says nothing of it"
    );
    assert_eq!(message.entries[0].key, "limit");
}

#[test]
fn the_budgets_that_are_spent_are_read_with_the_time_until_they_are_whole() {
    let questions = [question(1), question(2)];
    let both = |first: Code, second: Code, reset| vec![status(first, 1, reset), status(second, 2, reset)];
    let read = |code, statuses| read(&answer(code, statuses), &questions);
    assert_eq!(read(Code::Ok, both(Code::Ok, Code::Ok, Some(9))), Ok(vec![None, None]));
    assert_eq!(
        read(Code::OverLimit, both(Code::Ok, Code::OverLimit, Some(9))),
        Ok(vec![None, seconds(9)])
    );
    // It was told to count only.
    assert_eq!(
        read(Code::Ok, both(Code::Ok, Code::OverLimit, Some(9))),
        Ok(vec![None, None])
    );
    for (told, expected) in [(None, 1), (Some(0), 1), (Some(-5), 1), (Some(i64::MAX), 60)] {
        let found = read(Code::OverLimit, both(Code::OverLimit, Code::Ok, told));
        assert_eq!(found, Ok(vec![seconds(expected), None]), "{told:?}");
    }
}

#[test]
fn an_answer_that_does_not_go_by_our_quota_is_none() {
    let questions = [question(5)];
    let is_none = |code, statuses| matches!(read(&answer(code, statuses), &questions), Err(EngineError::Answer(_)));
    let unknown_domain = DescriptorStatus {
        code: Code::Ok.into(),
        ..DescriptorStatus::default()
    };
    assert!(is_none(Code::Ok, vec![unknown_domain]));
    assert!(is_none(Code::Ok, vec![status(Code::Ok, 6, None)]));
    let hourly = DescriptorStatus {
        current_limit: Some(RateLimit {
            name: String::new(),
            requests_per_unit: 5,
            unit: Counted::Hour.into(),
        }),
        ..status(Code::Ok, 5, None)
    };
    assert!(is_none(Code::Ok, vec![hourly]));
    assert!(is_none(Code::Ok, vec![]));
    let fine = || status(Code::Ok, 5, None);
    assert!(is_none(Code::Ok, vec![fine(), fine()]));
    assert!(is_none(Code::Unknown, vec![fine()]));
    assert!(is_none(Code::OverLimit, vec![fine()]));
    assert_eq!(read(&answer(Code::Ok, vec![fine()]), &questions), Ok(vec![None]));
}

#[test]
fn units_have_the_same_numbers_in_questions_and_answers() {
    for (ours, counted) in [
        (Unit::Second, Counted::Second),
        (Unit::Minute, Counted::Minute),
        (Unit::Hour, Counted::Hour),
        (Unit::Day, Counted::Day),
    ] {
        assert_eq!(i32::from(unit(ours)), i32::from(counted));
        let quota = Shared {
            unit: ours,
            ..question(1).descriptor.quota
        };
        assert!(quota.unit.window() >= RETRY_AFTER);
    }
}

#[tokio::test]
async fn one_workload_has_its_part_of_the_questions_beside_calls_and_those_of_others_are_asked() {
    let wanted = RateLimitService {
        engine: resources::Engine {
            host: "127.0.0.1".into(),
            port: 1,
            tls: None,
            timeout: Duration::from_secs(10),
            on_failure: resources::OnFailure::Open,
        },
        domain: "mcpgw".into(),
        mode: Asking::Background,
    };
    let service = Arc::new(RateLimits::new(Arc::new(wanted), &Handle::current()));
    let not_asked = || service.status().counts.not_asked;
    let [greedy, modest] = ["a", "b"].map(|name| Payer::Workload(Owner::of(name)));
    // Nothing else runs here meanwhile: none of them is over.
    for _ in 0..MAX_BESIDE {
        service.beside(greedy, vec![question(1)]);
    }
    let left = (MAX_BESIDE - MAX_BESIDE_PER_WORKLOAD) as u64;
    assert_eq!(not_asked(), left);
    service.beside(modest, vec![question(1)]);
    assert_eq!(not_asked(), left);
}

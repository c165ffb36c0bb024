//! What a decision costs with few rules and with many, and what spending costs with few budgets and with many: in one
//! run, side by side, in CPU time of this thread.

use std::{hint::black_box, num::NonZeroU32, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use mcpgw_agent::{
    identity::{Caller, Token},
    mcp::{
        annotations::Annotations,
        governed::{Governed, Kind},
    },
    policy::{
        Ask, Decision, Plan,
        limits::{Budgets, Spender},
    },
    resources::{
        Action, Caller as From, Claim, Desired, KeyPart, Limit, ObjectName, Pattern, Policy, Rate, Rule, Scope, Server,
    },
};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Rules of a server.
const RULES: [usize; 5] = [1, 10, 100, 1_000, 10_000];
/// Callers that have spent of a limit.
const KEYS: [usize; 4] = [1, 1_000, 10_000, 100_000];
/// Rules of one policy.
const CHUNK: usize = 256;
/// Of each size, how often, one size after the other: what the machine does beside falls on all alike.
const ROUNDS: usize = 9;
/// Decisions, or calls that spend, of one round.
const TIMES: usize = 40_000;
/// Callers and tools that take turns in decisions.
const DIFFERENT: usize = 512;

/// What each size costs, in nanoseconds of CPU time for one call, as the median of the rounds.
#[derive(Serialize)]
struct Costs {
    decide_ns: Vec<(usize, f64)>,
    spend_ns: Vec<(usize, f64)>,
    /// The largest beside the smallest.
    decide_ratio: f64,
    spend_ratio: f64,
}

/// Measures, and prints one line of JSON.
pub fn run() -> Result<()> {
    let decide = decisions()?;
    let spend = spending()?;
    let costs = Costs {
        decide_ratio: ratio(&decide),
        spend_ratio: ratio(&spend),
        decide_ns: decide,
        spend_ns: spend,
    };
    println!("{}", serde_json::to_string(&costs)?);
    Ok(())
}

fn ratio(costs: &[(usize, f64)]) -> f64 {
    match (costs.first(), costs.last()) {
        (Some((_, few)), Some((_, many))) => many / few,
        _ => 0.0,
    }
}

fn decisions() -> Result<Vec<(usize, f64)>> {
    let plans: Vec<(usize, Plan)> = RULES
        .into_iter()
        .map(|count| (count, plan(rules(count), vec![])))
        .collect();
    let callers: Vec<Caller> = (0..DIFFERENT).map(caller).collect();
    let tools: Vec<String> = (0..DIFFERENT).map(|n| format!("wanted_{n}")).collect();
    interleaved(&plans, |(_, plan), times| {
        let server = &plan.servers()[0];
        for n in 0..times {
            let governed = Governed {
                method: "tools/call",
                kind: Kind::Tool,
                name: &tools[n % DIFFERENT],
            };
            let ask = Ask::new(&callers[n * 7 % DIFFERENT], governed, Annotations::default(), None);
            let judgement = black_box(plan.decide(server, &ask));
            ensure!(matches!(judgement.decision, Decision::Allow { .. }), "{judgement:?}");
        }
        Ok(())
    })
}

fn spending() -> Result<Vec<(usize, f64)>> {
    let plan = plan(vec![], vec![limit()]);
    let server = &plan.servers()[0];
    let all: Vec<Caller> = (0..KEYS[KEYS.len() - 1]).map(caller).collect();
    let spend = |budgets: &Arc<Budgets>, caller: &Caller| {
        let spender = Spender {
            caller,
            server: server.name(),
            method: "tools/call",
            tool: Some("add"),
            tool_key: "add",
        };
        let (in_force, _) = server.limits(&spender);
        budgets.take(&in_force, &spender).map(drop)
    };
    let mut filled = Vec::new();
    for count in KEYS {
        let budgets = Arc::<Budgets>::default();
        for caller in &all[..count] {
            ensure!(spend(&budgets, caller).is_ok(), "the limit is too low for this");
        }
        ensure!(budgets.len() == count, "{} budgets, not {count}", budgets.len());
        filled.push((count, budgets));
    }
    interleaved(&filled, |(count, budgets), times| {
        for n in 0..times {
            // A step that is no factor of the count: they come in no order.
            let caller = &all[n * 7_919 % count];
            ensure!(black_box(spend(budgets, caller)).is_ok(), "over the limit");
        }
        Ok(())
    })
}

/// Nanoseconds for one time, for each of these.
fn interleaved<T>(
    sizes: &[(usize, T)],
    measure: impl Fn(&(usize, T), usize) -> Result<()>,
) -> Result<Vec<(usize, f64)>> {
    let mut samples = vec![Vec::new(); sizes.len()];
    for round in 0..=ROUNDS {
        for (size, samples) in sizes.iter().zip(&mut samples) {
            let before = cpu_time()?;
            measure(size, TIMES)?;
            let used = cpu_time()? - before;
            // The first one warms up.
            if round > 0 {
                samples.push(used.as_nanos() as f64 / TIMES as f64);
            }
        }
    }
    let median = |mut of: Vec<f64>| {
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    Ok(sizes
        .iter()
        .zip(samples)
        .map(|((size, _), of)| (*size, median(of)))
        .collect())
}

fn cpu_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("read the CPU time of this thread")?;
    Ok(Duration::from(time))
}

fn plan(rules: Vec<Rule>, limits: Vec<Limit>) -> Plan {
    let name = ObjectName {
        namespace: "tools".into(),
        name: "calc".into(),
    };
    let chunks = rules.chunks(CHUNK).enumerate().map(|(n, rules)| Policy {
        name: ObjectName {
            namespace: "tools".into(),
            name: format!("rules-{n}").into(),
        },
        rules: rules.to_vec(),
        ..Policy::default()
    });
    let limits = Policy {
        name: name.clone(),
        limits,
        ..Policy::default()
    };
    Plan::compile(&Desired {
        generation: 1,
        servers: vec![Arc::new(Server::at(name, vec![([10, 0, 0, 1], 80).into()]))],
        policies: chunks.chain([limits]).map(Arc::new).collect(),
        ..Desired::default()
    })
}

/// One rule that allows everything, and others that are about other tools, accounts, groups and claims.
fn rules(count: usize) -> Vec<Rule> {
    let other = |n: usize| {
        let name = format!("other_{n}");
        let pattern = |glob: String| Pattern::new(&glob).ok().into_iter().collect::<Vec<_>>();
        let tools = |action, glob| Rule {
            tools: pattern(glob),
            ..Rule::new(action)
        };
        let from = |from| Rule {
            from: vec![from],
            ..Rule::new(Action::Deny)
        };
        match n % 6 {
            0 => tools(Action::Deny, name),
            1 => tools(Action::Deny, format!("{name}_*")),
            2 => tools(Action::Allow, format!("*_{name}")),
            3 => from(From {
                service_accounts: vec![ObjectName {
                    namespace: "agents".into(),
                    name: name.into(),
                }],
                ..From::default()
            }),
            4 => from(From {
                groups: pattern(name),
                ..From::default()
            }),
            _ => from(From {
                claims: vec![Claim {
                    path: vec!["role".into()],
                    values: pattern(name),
                }],
                ..From::default()
            }),
        }
    };
    (1..count).map(other).chain([Rule::new(Action::Allow)]).collect()
}

/// So high that nobody comes near it.
fn limit() -> Limit {
    let many = NonZeroU32::MAX;
    Limit {
        name: None,
        counts: Pattern::new("tools/call").ok().into_iter().collect(),
        tools: vec![],
        rate: Some(Rate {
            requests: many,
            per: Duration::from_secs(1),
            burst: many,
        }),
        concurrency: None,
        key: vec![KeyPart::Identity],
        scope: Scope::Node,
    }
}

/// A caller with a token of its own.
fn caller(n: usize) -> Caller {
    let claims = [("role".to_owned(), format!("role_{n}").into())];
    Caller {
        workload: None,
        token: Some(Arc::new(Token {
            issuer: "https://issuer.example".into(),
            subject: format!("subject-{n}").into(),
            groups: vec![format!("group_{n}").into()],
            claims: claims.into_iter().collect(),
            service_account: None,
            ends: u64::MAX,
        })),
        destination: ([10, 0, 0, 1], 80).into(),
        client: None,
        process: None,
        observed: false,
    }
}

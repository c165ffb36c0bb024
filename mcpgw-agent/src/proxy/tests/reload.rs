//! Plans that come while calls are on their way: each call is decided, carried out and recorded by one of them.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    Answer, Proxied, engines,
    gateway::{ask, desired as behind_gateway, request, start as gateway},
    name, post,
    session_server::{SessionServer, Shown},
    tokens::World,
    upstreams::dead,
};
use crate::{
    policy::Plan,
    resources::{
        Action, Asking, AuditSettings, Authentication, Credential, Demand, DenialStatus, Desired, Limit, OnFailure,
        Payloads, Policy, RateLimitService, Rule, Scope, Server, Unit,
    },
};

/// How often the plan changes.
const RELOADS: u64 = 200;
/// Calls that are made of each plan, at least.
const CALLS_OF_EACH: u64 = 4;
/// Callers at a time, half of them on each path.
const CALLERS: u64 = 6;

/// Puts resources in force as the agent does.
pub(super) fn put_in_force(proxied: &Proxied, desired: &Desired) {
    let plan = Plan::compile(desired);
    proxied.telemetry.set_audit(&desired.settings.audit);
    proxied.shared.upstreams.put_in_force(&desired.servers);
    proxied.discovery.put_in_force(&desired.servers);
    proxied.issuers.put_in_force(&desired.settings);
    proxied.shared.engines.put_in_force(&desired.settings);
    proxied.plan.store(Arc::new(plan));
}

/// Two plans that differ in all that decides: what is allowed, which status a denial has, what the server is shown, what
/// is recorded, who a token says that its bearer is, what is counted for the whole cluster, and who is asked outside.
struct Sides {
    base: Desired,
    secrets: tempfile::TempDir,
    world: World,
    /// Where nobody listens: engines there fail, and open.
    nobody: std::net::SocketAddr,
}

impl Sides {
    async fn new(base: Desired) -> Self {
        let secrets = tempfile::tempdir().unwrap();
        for side in ["a", "b"] {
            fs::write(secrets.path().join(side), side).unwrap();
        }
        Self {
            base,
            secrets,
            world: World::new(),
            nobody: dead().await,
        }
    }

    fn of(&self, generation: u64) -> Desired {
        let is_a = generation % 2 == 1;
        let (side, allowed, denied) = if is_a { ("a", "add", "big") } else { ("b", "big", "add") };
        let rule = |action, tool| Rule {
            tools: vec![crate::resources::Pattern::new(tool).unwrap()],
            ..Rule::new(action)
        };
        let mut desired = self.base.clone();
        desired.generation = generation;
        desired.policies = vec![Arc::new(Policy {
            name: name("tools", side),
            rules: vec![rule(Action::Allow, allowed), rule(Action::Deny, denied)],
            denial_status: if is_a { DenialStatus::Ok } else { DenialStatus::Http },
            ..Policy::default()
        })];
        desired.settings.audit = AuditSettings {
            payloads: (!is_a).then(|| Arc::new(Payloads::default())),
            // Where no collector is: each line is counted.
            exported: !is_a,
            ..AuditSettings::default()
        };
        let credential = Credential::Bearer {
            file: self.secrets.path().join(side),
        };
        Arc::make_mut(&mut desired.servers[0]).credential = Some(Arc::new(credential));
        desired
    }

    /// With tokens, and engines outside.
    fn whole(&self, generation: u64) -> Desired {
        let mut desired = self.of(generation);
        let is_a = generation % 2 == 1;
        let policy = Arc::make_mut(&mut desired.policies[0]);
        policy.authentication = Some(Demand {
            mode: if is_a {
                Authentication::Token
            } else {
                Authentication::Any
            },
            issuers: None,
        });
        policy.limits = is_a.then(cluster_limit).into_iter().collect();
        // The same tokens, and another subject by them.
        let mut issuers = self.world.settings(Authentication::Token).issuers;
        Arc::make_mut(&mut issuers[0]).claims.subject = if is_a { "a" } else { "b" }.into();
        desired.settings.issuers = issuers;
        desired.settings.rate_limit_service = is_a.then(|| rate_limit_service(self.nobody));
        desired.settings.ext_authz = (!is_a).then(|| engines::ext_authz(self.nobody, OnFailure::Open));
        desired
    }
}

fn cluster_limit() -> Limit {
    let scope = Scope::Cluster {
        unit: Unit::Hour,
        mode: Some(Asking::InLine),
    };
    Limit {
        scope,
        ..super::limits::an_hour(1_000_000)
    }
}

fn rate_limit_service(address: std::net::SocketAddr) -> Arc<RateLimitService> {
    let engine = engines::ext_authz(address, OnFailure::Open).engine.clone();
    Arc::new(RateLimitService {
        engine,
        domain: "mcpgw".into(),
        mode: Asking::InLine,
    })
}

/// What became of a call, as its client saw it.
struct Seen {
    tool: &'static str,
    status: u16,
    code: Option<i64>,
}

async fn call(proxied: &Proxied, headers: &str, prefix: &str, number: u64) -> Seen {
    let tool = if number.is_multiple_of(3) { "big" } else { "add" };
    let params = json!({"name": format!("{prefix}{tool}"), "arguments": {"n": number}});
    let body = json!({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params});
    let answer = ask(proxied, headers, &body).await;
    assert_eq!(answer.body["id"], number, "{answer:?}");
    Seen {
        tool,
        status: answer.status,
        code: answer.code(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_decided_by_half_a_plan_while_plans_change_200_times() {
    let server = SessionServer::start().await;
    let sides = Sides::new(behind_gateway(&[server.address])).await;
    let proxied = Arc::new(gateway(sides.whole(1)).await);
    let direct = Arc::new(proxied.of_another_workload(server.address).await);
    let (next, done, over) = (
        Arc::new(AtomicU64::new(1)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let token = sides.world.with(json!({
        "iss": "https://users.example", "sub": "x", "a": "known-to-a", "b": "known-to-b", "aud": "mcpgw", "scope": "mcp",
    }));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (at, prefix) = match caller % 2 {
                0 => (Arc::clone(&proxied), "a_"),
                _ => (Arc::clone(&direct), ""),
            };
            let (next, done, over) = (Arc::clone(&next), Arc::clone(&done), Arc::clone(&over));
            let token = token.clone();
            tokio::spawn(async move {
                let mut seen = HashMap::new();
                while !over.load(Relaxed) {
                    let number = next.fetch_add(1, Relaxed);
                    seen.insert(number, call(&at, &token, prefix, number).await);
                    done.fetch_add(1, Relaxed);
                }
                seen
            })
        })
        .collect();
    let reloads = async {
        for generation in 2..RELOADS + 2 {
            put_in_force(&proxied, &sides.whole(generation));
            let enough = done.load(Relaxed) + CALLS_OF_EACH;
            while done.load(Relaxed) < enough {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), reloads).await.unwrap();
    over.store(true, Relaxed);
    let mut seen = HashMap::new();
    for caller in callers {
        seen.extend(caller.await.unwrap());
    }
    drop(direct);
    let telemetry = Arc::clone(&proxied.telemetry);
    let lines = Arc::into_inner(proxied).unwrap().finish().await;
    let lines: HashMap<u64, Value> = lines
        .into_iter()
        .map(|line| (line["requestId"].as_u64().unwrap(), line))
        .collect();
    assert_eq!(lines.len(), seen.len());
    let mut reached: HashMap<u64, Shown> = HashMap::new();
    for call in server.calls() {
        let number = call.arguments["n"].as_u64().unwrap();
        assert!(
            reached.insert(number, call).is_none(),
            "{number} reached the server twice"
        );
    }
    let mut of_side = HashMap::<&str, u64>::new();
    for (number, Seen { tool, status, code }) in seen {
        let line = &lines[&number];
        let rule = line["rule"].as_str().unwrap_or_default();
        let side = rule
            .strip_prefix("tools/")
            .and_then(|rule| rule.split_once('#'))
            .unwrap_or_else(|| panic!("{line}"))
            .0;
        let is_allowed = (side, tool) == ("a", "add") || (side, tool) == ("b", "big");
        let (wanted_status, wanted_code, decision) = match (is_allowed, side) {
            (true, _) => (200, None, "allow"),
            (false, "a") => (200, Some(-32602), "deny"),
            (false, _) => (403, Some(-32602), "deny"),
        };
        assert_eq!((status, code), (wanted_status, wanted_code), "{line}");
        assert_eq!(
            (&line["status"], &line["decision"]),
            (&json!(status), &json!(decision)),
            "{line}"
        );
        assert_eq!(line["arguments"].is_object(), side == "b", "{line}");
        assert_eq!(line["identity"]["subject"], format!("known-to-{side}"), "{line}");
        let credential = reached.remove(&number).map(|call| call.credential);
        assert_eq!(credential, is_allowed.then(|| Some(format!("Bearer {side}"))), "{line}");
        *of_side.entry(if side == "a" { "a" } else { "b" }).or_default() += 1;
    }
    assert!(reached.is_empty(), "{reached:?}");
    assert_eq!(
        telemetry.audit_health().lost,
        of_side["b"],
        "of each call, and of no other"
    );
    assert!(of_side["a"] >= RELOADS && of_side["b"] >= RELOADS, "{of_side:?}");
}

#[tokio::test]
async fn a_plan_that_comes_while_a_body_is_on_its_way_decides_it_whole() {
    let server = SessionServer::start().await;
    let sides = Sides::new(behind_gateway(&[server.address])).await;
    for gateway_path in [true, false] {
        let at_gateway = gateway(sides.of(1)).await;
        let (proxied, tool) = match gateway_path {
            true => (&at_gateway, "a_add"),
            false => (&at_gateway.of_another_workload(server.address).await, "add"),
        };
        let whole = post(
            "",
            &request("tools/call", json!({"name": tool, "arguments": {}})).to_string(),
        );
        let (first, rest) = whole.split_at(whole.len() - 10);
        let mut stream = proxied.connect().await;
        stream.write_all(first.as_bytes()).await.unwrap();
        // Until the head is judged: another request that came later has its answer.
        assert_eq!(proxied.call("nothing").await.status, 200);
        put_in_force(proxied, &sides.of(2));
        stream.write_all(rest.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let answer = Answer::of(&answer);
        assert_eq!(
            (answer.status, answer.code()),
            (403, Some(-32602)),
            "{gateway_path} {answer:?}"
        );
    }
    assert!(server.called().is_empty());
}

#[tokio::test]
async fn a_session_goes_on_at_a_server_that_has_moved_or_is_shown_another_credential() {
    let (here, there) = (SessionServer::start().await, SessionServer::start().await);
    let sides = Sides::new(behind_gateway(&[here.address])).await;
    let proxied = gateway(sides.of(1)).await;
    let initialize = request(
        "initialize",
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}),
    );
    let opened = ask(&proxied, "", &initialize).await;
    let session = format!("Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap());
    let call = |tool: &str| request("tools/call", json!({"name": tool, "arguments": {}}));
    assert_eq!(ask(&proxied, &session, &call("a_add")).await.code(), None);
    // The old credential is no longer shown, not even in a session that it opened.
    put_in_force(&proxied, &sides.of(2));
    assert_eq!(ask(&proxied, &session, &call("a_big")).await.code(), None);
    let shown: Vec<_> = here.calls().into_iter().map(|call| call.credential.unwrap()).collect();
    assert_eq!(shown, ["Bearer a", "Bearer b"]);
    // It moves.
    let mut moved = sides.of(4);
    let server = Arc::make_mut(&mut moved.servers[0]);
    *server = Server {
        credential: server.credential.clone(),
        expose_to: server.expose_to.clone(),
        ..Server::at(server.name.clone(), vec![there.address])
    };
    put_in_force(&proxied, &moved);
    for session in [&*session, ""] {
        let answer = ask(&proxied, session, &call("a_big")).await;
        assert_eq!((answer.status, answer.code()), (200, None), "{answer:?}");
    }
    assert_eq!(there.called(), ["big", "big"]);
}

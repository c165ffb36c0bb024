use std::{net::SocketAddr, os::unix::fs::PermissionsExt, time::Instant};

use serde_json::{Value, value::RawValue};

use super::*;
use crate::{
    datapath::status::{ConnectCount, MapStatus, State, WorkloadStatus},
    identity::{Caller, Process, WorkloadIdentity},
    resources::ObjectName,
};

fn connects(decision: &str, reason: &str, count: u64) -> ConnectCount {
    ConnectCount {
        decision: decision.to_owned(),
        reason: reason.to_owned(),
        count,
    }
}

fn name(namespace: &str, name: &str) -> ObjectName {
    ObjectName {
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn workload() -> Arc<WorkloadIdentity> {
    Arc::new(WorkloadIdentity::new(name("agents", "pod-1"), "ci".into()))
}

fn caller() -> Arc<Caller> {
    Arc::new(Caller {
        workload: Some(workload()),
        destination: SocketAddr::from(([10, 0, 0, 1], 80)),
        client: None,
        process: Some(Process {
            pid: 42,
            executable: Some("/usr/bin/agent".into()),
            container: Some("0a1b".to_owned()),
            command: "agent".to_owned(),
        }),
        token: None,
        observed: false,
    })
}

struct Bench {
    telemetry: Arc<Telemetry>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let audit = AuditSink::File(dir.path().join("audit.log"));
        let telemetry = Telemetry::new(TelemetryOptions {
            node: "node-1".to_owned(),
            audit,
            audit_export: None,
            traces: None,
        })
        .unwrap();
        Self { telemetry, dir }
    }

    fn call(&self, tool: &str, allowed: bool) -> Record {
        let id = RawValue::from_string("\"r1\"".to_owned()).unwrap();
        let headers = http::HeaderMap::new();
        self.telemetry.call(CallStart {
            catalog: None,
            spent: None,
            engine: None,
            reason: None,
            arguments_hash: None,
            payload: None,
            client: None,
            keeping: Keeping::default(),
            path: Path::Redirected,
            caller: caller(),
            server: Some(&name("tools", "calc")),
            method: "tools/call",
            kind: crate::mcp::governed::Kind::Tool,
            name: tool,
            tool_is_named: false,
            request_id: Some(&id),
            received: Instant::now(),
            request_bytes: 100,
            called_as: tool,
            read: Instant::now(),
            verdict: match allowed {
                true => Verdict::Allow,
                false => Verdict::Deny,
            },
            rule: Some("tools/p#1".into()),
            carried: Carried {
                headers: &headers,
                version: http::Version::HTTP_11,
                meta: &crate::mcp::params::Meta::default(),
            },
        })
    }

    fn finish(&self, tool: &str, outcome: Outcome) {
        let mut record = self.call(tool, outcome != Outcome::Denied);
        record.status(200);
        record.outcome(outcome, (outcome == Outcome::Ok).then_some(false));
    }

    /// The audit lines; ends the log.
    fn lines(&self) -> Vec<Value> {
        assert!(self.telemetry.shutdown());
        let text = std::fs::read_to_string(self.dir.path().join("audit.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn a_caller_known_by_its_token_has_its_labels() {
    let bench = Bench::new();
    let token = crate::identity::Token {
        ends: u64::MAX,
        issuer: "https://issuer.example".into(),
        subject: "system:serviceaccount:apps:bot".into(),
        groups: vec![],
        claims: serde_json::Map::new(),
        service_account: Some(crate::identity::ServiceAccount {
            name: name("apps", "bot"),
            pod: None,
            pod_uid: None,
        }),
    };
    let caller = Arc::new(Caller {
        workload: None,
        token: Some(Arc::new(token)),
        ..(*caller()).clone()
    });
    let (headers, meta) = (http::HeaderMap::new(), crate::mcp::params::Meta::default());
    let carried = Carried {
        headers: &headers,
        version: http::Version::HTTP_11,
        meta: &meta,
    };
    let server = name("tools", "calc");
    drop(bench.telemetry.call(CallStart {
        server: Some(&server),
        kind: crate::mcp::governed::Kind::Tool,
        name: "add",
        ..CallStart::new(
            caller,
            Path::Gateway,
            "tools/call",
            Instant::now(),
            carried,
            Keeping::default(),
        )
    }));
    let text = bench.telemetry.render();
    let labels = r#"source_namespace="apps",source_service_account="bot""#;
    assert!(text.contains(labels), "{text}");
}

#[test]
fn metrics_have_exactly_their_names() {
    let bench = Bench::new();
    bench.finish("add", Outcome::Ok);
    bench.telemetry.refused(Refusal {
        time: SystemTime::now(),
        path: Path::Redirected,
        reason: "tls",
        status: None,
        who: Who::Caller(caller()),
        decision_id: None,
    });
    bench.telemetry.observe_plan(|| 7);
    bench
        .telemetry
        .observe_readiness(|| vec![("plan".to_owned(), true), ("audit".to_owned(), false)]);
    let workload = |state| WorkloadStatus {
        name: "agents/a".to_owned(),
        service_account: "ci".to_owned(),
        mode: "enforce".to_owned(),
        state,
        cgroup: "/a".to_owned(),
        cgroup_id: None,
        netns_cookie: None,
        listeners: vec![],
    };
    let status = DatapathStatus {
        workloads: vec![
            workload(State::Enforced),
            workload(State::Refused("port in use".to_owned())),
        ],
        maps: vec![MapStatus {
            name: "HANDOFFS".to_owned(),
            entries: 3,
            capacity: 9,
        }],
        connects: vec![
            connects("redirect", "governed", 5),
            connects("refuse", "gateway_only", 3),
            connects("refuse", "quota", 1),
            connects("refuse", "listener_port_bound", 2),
        ],
        ..DatapathStatus::default()
    };
    bench.telemetry.observe_datapath(watch::channel(status).1);
    let text = bench.telemetry.render();
    for line in [
        r#"mcp_tool_calls_total{mcp_server_name="calc",mcp_server_namespace="tools",outcome="ok",path="redirected",source_namespace="agents",source_service_account="ci",status_code="200",tool_name="add"} 1"#,
        r#"mcpgw_ready{component="plan"} 1"#,
        r#"mcpgw_ready{component="audit"} 0"#,
        r#"mcp_tool_call_duration_seconds_count{mcp_server_name="calc",mcp_server_namespace="tools",tool_name="add"} 1"#,
        r#"mcp_server_operation_duration_seconds_bucket{gen_ai_tool_name="add",mcp_method_name="tools/call",le="300"} 1"#,
        r#"mcpgw_overhead_seconds_bucket{le="0.00001"} 1"#,
        r#"mcpgw_requests_refused_total{reason="tls"} 1"#,
        r#"mcpgw_policy_decisions_total{action="allow",rule="tools/p#1"} 1"#,
        "mcpgw_original_dst_missing_total 0",
        "mcpgw_audit_lines_lost_total 0",
        "mcpgw_plan_generation 7",
        concat!("mcpgw_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        r#"mcpgw_connects_total{decision="redirect",reason="governed"} 5"#,
        r#"mcpgw_bypass_dropped_total{layer="connect"} 4"#,
        r#"mcpgw_bypass_dropped_total{layer="bind"} 2"#,
        r#"mcpgw_bypass_dropped_total{layer="sock_ops"} 0"#,
        r#"mcpgw_pods{state="enforced"} 1"#,
        r#"mcpgw_pods{state="refused"} 1"#,
        r#"mcpgw_pods{state="pending"} 0"#,
        r#"mcpgw_map_entries{map="HANDOFFS"} 3"#,
        r#"mcpgw_map_capacity{map="HANDOFFS"} 9"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
    assert!(
        !text.contains("otel_scope") && !text.contains("target_info") && !text.contains("_total_total"),
        "{text}"
    );
}

#[test]
fn metrics_render_before_the_first_call() {
    assert!(Bench::new().telemetry.render().contains("mcpgw_build_info"));
}

#[test]
fn a_denied_or_failed_call_makes_no_series_for_a_name_that_nobody_knows() {
    let bench = Bench::new();
    for outcome in [Outcome::Denied, Outcome::Error, Outcome::ToolError, Outcome::Cancelled] {
        bench.finish("random", outcome);
    }
    let text = bench.telemetry.render();
    assert!(
        !text.contains("random") && text.contains(r#"tool_name="_other""#),
        "{text}"
    );
}

#[test]
fn a_record_is_one_line_with_everything_in_it() {
    let bench = Bench::new();
    let mut record = bench.call("add", true);
    record.status(200);
    record.leaving();
    record.add_response_bytes(11);
    record.outcome(Outcome::ToolError, Some(true));
    let decision = record.decision_id().to_owned();
    drop(record);
    let lines = bench.lines();
    assert_eq!(lines.len(), 1);
    let line = lines[0].as_object().unwrap();
    let time = line["time"].as_str().unwrap();
    assert!(
        time.len() == 24 && time.ends_with('Z') && time.as_bytes()[19] == b'.',
        "{time}"
    );
    assert!(line["durationMs"].is_f64());
    let expected = serde_json::json!({
        "event": "tool_call", "node": "node-1", "path": "redirected", "decision": "allow", "rule": "tools/p#1",
        "decisionId": decision, "outcome": "tool_error", "status": 200,
        "identity": {
            "namespace": "agents", "serviceAccount": "ci", "workload": "pod-1",
            "container": "0a1b", "pid": 42, "executable": "/usr/bin/agent", "command": "agent",
        },
        "server": "tools/calc", "tool": "add", "method": "tools/call", "requestId": "r1", "isError": true,
        "requestBytes": 100, "responseBytes": 11, "destination": "10.0.0.1:80",
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&line[key], value, "{key}");
    }
    assert_eq!(line.len(), expected.as_object().unwrap().len() + 3);
    let mode = std::fs::metadata(bench.dir.path().join("audit.log"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_record_that_is_dropped_without_an_outcome_is_a_cancelled_call() {
    let bench = Bench::new();
    drop(bench.call("add", true));
    let lines = bench.lines();
    assert_eq!(
        (lines[0]["outcome"].as_str(), lines[0]["status"].as_u64()),
        (Some("cancelled"), None)
    );
}

#[test]
fn a_refusal_is_a_line_of_its_own() {
    let bench = Bench::new();
    bench
        .telemetry
        .original_dst_missing(Who::Workload(workload()), "no_entry");
    let lines = bench.lines();
    assert_eq!(lines[0]["event"], "refused");
    assert_eq!(lines[0]["reason"], "no_entry");
    assert_eq!(lines[0]["identity"]["workload"], "pod-1");
    assert_eq!(lines[0]["destination"], Value::Null);
    assert!(bench.telemetry.render().contains("mcpgw_original_dst_missing_total 1"));
}

#[test]
fn a_caller_cannot_make_a_line_long() {
    let bench = Bench::new();
    drop(bench.call(&"ü".repeat(100_000), true));
    let lines = bench.lines();
    let tool = lines[0]["tool"].as_str().unwrap();
    assert!(tool.len() < 600 && tool.ends_with("ü…"));
}

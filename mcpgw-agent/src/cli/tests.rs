//! What the command line prints, compared with files in `snapshots/`. After a wanted change, run the tests
//! once with `MCPGW_UPDATE_SNAPSHOTS=1` and read the difference.

use std::{collections::BTreeMap, path::Path};

use clap::CommandFactory;

use super::*;
use crate::{
    admin::{CatalogStatus, Component, GatewayStatus, ServerStatus, Status},
    datapath::status::{ConnectCount, DatapathStatus, MapStatus, ProgramStatus, State, WorkloadStatus},
    discovery::Offers,
    engines::{Counts, EngineStatus},
    identity::jwt::IssuerStatus,
    pins::PinCount,
    source::{FileSource, SourceStatus},
};

pub(super) fn assert_snapshot(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/cli/snapshots")
        .join(name);
    if std::env::var_os("MCPGW_UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, expected, "{name}");
    let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or_default();
    assert!(widest <= 100, "{name} is {widest} columns wide");
}

fn workload(name: &str, state: State, listeners: &[&str]) -> WorkloadStatus {
    WorkloadStatus {
        name: format!("agents/{name}"),
        service_account: "reader".to_owned(),
        mode: if state == State::Off { "off" } else { "enforce" }.to_owned(),
        state,
        cgroup: format!("/agents/{name}"),
        cgroup_id: Some(4711),
        netns_cookie: Some(12),
        listeners: listeners.iter().map(|listener| (*listener).to_owned()).collect(),
    }
}

/// An issuer; one whose keys are old cannot be asked.
fn issuer(name: &str, age: Option<u64>) -> IssuerStatus {
    IssuerStatus {
        issuer: name.to_owned(),
        state: "Ready".to_owned(),
        keys: 2,
        unusable_keys: 0,
        age_seconds: Some(age.unwrap_or(12)),
        max_age_seconds: 86_400,
        error: age.map(|_| "kubernetes.default.svc did not answer within 10 s".to_owned()),
        reads: 3,
        failed_reads: 1,
    }
}

fn datapath() -> DatapathStatus {
    let program = |(index, name): (u32, &str)| ProgramStatus {
        name: name.to_owned(),
        program_id: 100 + index,
        link_id: 20 + index,
        cgroup_id: 4242,
    };
    let connect = |(decision, reason, count): (&str, &str, u64)| ConnectCount {
        decision: decision.to_owned(),
        reason: reason.to_owned(),
        count,
    };
    let map = |(name, entries, capacity): (&str, u64, u64)| MapStatus {
        name: name.to_owned(),
        entries,
        capacity,
    };
    DatapathStatus {
        generation: 7,
        workloads: vec![
            workload("idle", State::Off, &[]),
            workload("late", State::Pending("cgroup-missing".to_owned()), &[]),
            workload(
                "odd",
                State::Refused("network-namespace (Permission denied (os error 13))".to_owned()),
                &[],
            ),
            workload("researcher", State::Enforced, &["127.0.0.1:17017", "[::1]:17017"]),
        ],
        programs: [(0, "connect4"), (1, "connect6"), (2, "sock_ops")].map(program).into(),
        maps: [("GOVERNED", 2, 65_536), ("WORKLOADS", 4, 4_096)].map(map).into(),
        connects: [
            ("redirect", "governed", 1_234),
            ("refuse", "no_listener", 5),
            ("refuse", "quota", 0),
        ]
        .map(connect)
        .into(),
        sockets_destroyed: 0,
        original_dst_missing: 1,
        error: None,
    }
}

fn status() -> Status {
    let component = |ready, message: &str| Component {
        ready,
        message: message.to_owned(),
    };
    let server = |name: &str, addresses: &[&str], policies: &[&str]| ServerStatus {
        name: name.to_owned(),
        addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
        found: vec![],
        problems: match name {
            "tools/calculator" => {
                vec!["10.0.0.5:8080 could not be reached, or failed too often: left alone for 2 s".to_owned()]
            }
            _ => vec![],
        },
        path: "/mcp".to_owned(),
        transport: "StreamableHTTP".to_owned(),
        prefix: format!("{}_", name.trim_start_matches("tools/")),
        capture: "Redirect".to_owned(),
        programmed: "Full".to_owned(),
        exposed_to: vec![],
        policies: policies.iter().map(|policy| (*policy).to_owned()).collect(),
    };
    Status {
        version: "0.1.0".to_owned(),
        node: "worker-1".to_owned(),
        pid: 4242,
        uptime_seconds: 3 * 3_600 + 12 * 60 + 5,
        source: SourceStatus {
            generation: 7,
            files: vec!["servers.yaml".to_owned()],
            errors: vec![
                "servers.yaml:12:5: MCPServer tools/clock: spec.path: \"mcp\" does not begin with \"/\"".into(),
            ],
            last_good_at: 1_763_676_000,
        },
        datapath: datapath(),
        gateway: Some(GatewayStatus {
            listen: vec!["10.0.0.1:8080".to_owned(), "127.0.0.1:8080".to_owned()],
            tls: true,
            certificate_error: Some("there is no private key in /etc/mcpgw/tls.key".to_owned()),
            authentication: "Attested".to_owned(),
            allowed_origins: vec![],
        }),
        restart_needed: vec!["spec.gateway.listen".to_owned()],
        engines: vec![EngineStatus {
            name: "rateLimitService".to_owned(),
            address: "ratelimit.mcpgw-system:8081".to_owned(),
            failure_mode: "Open".to_owned(),
            error: Some("it did not answer within 100ms".to_owned()),
            counts: Counts::default(),
        }],
        pins: vec![
            PinCount {
                server: "tools/calculator".to_owned(),
                pin: "Enforce".to_owned(),
                approved: 10,
                drifted: 1,
                new: 1,
                ..PinCount::default()
            },
            PinCount {
                server: "tools/clock".to_owned(),
                pin: "Warn".to_owned(),
                trouble: Some("the approvals /x are damaged".to_owned()),
                ..PinCount::default()
            },
        ],
        issuers: vec![
            issuer("https://issuer.example", None),
            issuer("https://kubernetes.default.svc", Some(7200)),
        ],
        catalogs: vec![CatalogStatus {
            name: "tools/office".to_owned(),
            path: "/mcp/office".to_owned(),
            servers: vec!["tools/calculator".to_owned(), "tools/clock".to_owned()],
        }],
        servers: vec![
            server(
                "tools/calculator",
                &["10.0.0.5:8080", "[fd00::5]:8080"],
                &["tools/read-only"],
            ),
            server("tools/clock", &["10.0.0.6:8080"], &[]),
        ],
        offers: vec![
            Offers {
                server: "tools/calculator".to_owned(),
                state: "Ready".to_owned(),
                revisions: vec!["2025-11-25".to_owned(), "2026-07-28".to_owned()],
                tools: 12,
                ..Offers::default()
            },
            Offers {
                server: "tools/clock".to_owned(),
                state: "Unreachable".to_owned(),
                reason: Some(("cannot be reached: Connection refused".to_owned(), 42)),
                problems: vec!["PrefixConflict: now is a name of tools/calculator already".to_owned()],
                ..Offers::default()
            },
        ],
        components: BTreeMap::from([
            ("datapath".to_owned(), component(false, "connect6 is not attached")),
            ("source".to_owned(), component(true, "generation 7 is in force")),
        ]),
    }
}

#[test]
fn status_of_a_running_agent() {
    assert_snapshot("status.txt", &render::running(&status()));
}

#[test]
fn status_of_an_agent_that_has_nothing_to_do() {
    let empty = Status {
        source: SourceStatus {
            generation: 1,
            ..Default::default()
        },
        datapath: DatapathStatus::default(),
        servers: vec![],
        catalogs: vec![],
        issuers: vec![],
        engines: vec![],
        pins: vec![],
        gateway: None,
        restart_needed: vec![],
        components: BTreeMap::new(),
        ..status()
    };
    assert_snapshot("status-empty.txt", &render::running(&empty));
}

#[test]
fn status_without_an_agent_shows_what_still_holds() {
    let why = "no agent is running: nothing listens on /run/mcpgw/worker-1/admin.sock";
    let kernel = DatapathStatus {
        workloads: vec![],
        ..datapath()
    };
    assert_snapshot("status-stopped.txt", &render::stopped("worker-1", why, &Ok(kernel)));
    assert_snapshot(
        "status-absent.txt",
        &render::stopped("worker-1", why, &Ok(DatapathStatus::default())),
    );
    let unreadable = render::stopped("worker-1", why, &Err("permission denied".to_owned()));
    assert!(unreadable.contains("cannot be read: permission denied"), "{unreadable}");
}

#[test]
fn keys_by_their_ids() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let line = |role: &str, day: &str, letter: &str| format!("{role} 2026-11-{day}T00:00:00Z {}\n", letter.repeat(43));
    std::fs::write(&path, line("current", "21", "A") + &line("previous", "01", "Q")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = crate::keys::KeyFile::read(&path).unwrap();
    let now = file.current.made + std::time::Duration::from_secs(7_500);
    assert_snapshot("keys.txt", &keys::render(&file, now));
}

#[test]
fn help_of_every_command() {
    let mut cli = Cli::command().term_width(100);
    cli.clone().debug_assert();
    cli.build();
    assert_snapshot("help.txt", &cli.render_long_help().to_string());
    for command in cli.get_subcommands_mut() {
        let help = command.render_long_help().to_string();
        assert!(help.contains("Examples:\n"), "{help}");
        assert_snapshot(&format!("help-{}.txt", command.get_name()), &help);
        let parent = command.get_name().to_owned();
        for command in command.get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:\n"), "{help}");
            assert_snapshot(&format!("help-{parent}-{}.txt", command.get_name()), &help);
        }
    }
}

#[test]
fn every_flag_is_also_a_variable() {
    let cli = Cli::command();
    let nested = cli.get_subcommands().flat_map(clap::Command::get_subcommands);
    for command in cli.get_subcommands().chain(nested) {
        for argument in command
            .get_arguments()
            .filter(|argument| argument.get_action().takes_values())
        {
            let expected = format!("MCPGW_{}", argument.get_id().as_str().to_uppercase());
            let variable = argument.get_env().and_then(|name| name.to_str());
            assert_eq!(variable, Some(expected.as_str()), "{}", command.get_name());
        }
    }
}

#[test]
fn the_examples_are_valid() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/standalone");
    let desired = FileSource::load(&examples).unwrap_or_else(|errors| panic!("{errors}"));
    assert_snapshot("check.txt", &check::render(&desired));
}

#[test]
fn the_example_with_tenants_is_valid_and_says_what_is_not_granted() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/tenants");
    let desired = FileSource::load(&examples).unwrap_or_else(|errors| panic!("{errors}"));
    let shown = check::render(&desired);
    for line in [
        "MCPServer  research/database  not granted: /mcp at 10.30.0.5:5432\n",
        "MCPServer  research/notes     /mcp at 10.20.0.5:8080\n",
        "direct dials are left alone; exposed to agents\n",
        "exposed to namespaces with team=assistants,stage notin (trial)\n",
        "Namespace  agents             team=assistants\n",
        "MCPServer research/database: NotGranted: externalBackends of ClusterMCPSettings does not grant 10.30.0.5 to \
         namespace research: ",
        "MCPServer tools/search: NotGranted: exposure of ClusterMCPSettings does not let servers of namespace tools be \
         shown to billing: ",
    ] {
        assert!(shown.contains(line), "{line}{shown}");
    }
}

#[test]
fn the_example_of_what_is_remembered_is_valid_and_its_redactions_add_up() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/telemetry");
    let desired = FileSource::load(&examples).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(desired.settings.audit.exported && desired.settings.audit.payloads.is_none());
    let plan = crate::policy::Plan::compile(&desired);
    let payloads = plan.servers()[0].payloads.as_ref().unwrap();
    assert_eq!((payloads.redact.len(), payloads.max_bytes), (4, 4096));
}

#[test]
fn an_error_says_each_cause_once() {
    let cause = std::io::Error::other("no such thing");
    let error = anyhow::Error::new(cause)
        .context("cannot open x: no such thing")
        .context("cannot start");
    assert_eq!(describe(&error), "cannot start: cannot open x: no such thing");
}

#[test]
fn bad_values_of_flags_are_refused() {
    let run = ["mcpgw", "run", "--config", "/c", "--cgroup", "/g"];
    let parse = |more: &[&'static str]| Cli::try_parse_from(run.iter().chain(more));
    assert!(parse(&[]).is_ok());
    for bad in [
        ["--listener-port", "0"],
        ["--log", "info=="],
        ["--metrics-address", "9090"],
        ["--node", "a/b"],
    ] {
        assert!(parse(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn the_example_with_tokens_is_valid_and_has_every_field() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/tokens");
    let desired = FileSource::load(&examples).unwrap_or_else(|errors| panic!("{errors}"));
    let [login, cluster, asked] = &*desired.settings.issuers else {
        panic!("{:?}", desired.settings.issuers)
    };
    assert!(login.oauth.is_some() && cluster.kubernetes);
    assert!(matches!(asked.keys, crate::resources::KeySource::Review(_)));
    assert!(desired.policies[0].authentication.is_some());
}

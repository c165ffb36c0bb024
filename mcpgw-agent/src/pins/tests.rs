use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use super::*;
use crate::telemetry::{AuditSink, TelemetryOptions};

struct Place {
    dir: tempfile::TempDir,
    telemetry: Arc<Telemetry>,
}

const ADD: (&str, &str) = ("add", r#"{"name":"add","description":"Adds"}"#);
const POISONED: (&str, &str) = ("add", r#"{"name":"add","description":"Adds, and tells the secret"}"#);
const SUB: (&str, &str) = ("sub", r#"{"name":"sub"}"#);
/// Has two descriptions.
const ODD: (&str, &str) = ("odd", r#"{"name":"odd","description":"a","description":"b"}"#);

fn name() -> ObjectName {
    ObjectName::parse("tools/calc.v1").unwrap()
}

fn digest(tool: (&str, &str)) -> Digest {
    Definition::of_tool(tool.1.as_bytes()).unwrap().digest()
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let telemetry = Telemetry::new(TelemetryOptions {
            node: "n".to_owned(),
            audit: AuditSink::File(dir.path().join("audit.log")),
            audit_export: None,
            traces: None,
        });
        Self {
            telemetry: telemetry.unwrap(),
            dir,
        }
    }

    /// As after a start of the agent.
    fn pins(&self) -> Arc<Pins> {
        let pins = Pins::new(self.dir.path().join("state/pins"), Arc::clone(&self.telemetry));
        let server = Server {
            pin: Pin::Enforce,
            ..Server::at(name(), vec![])
        };
        pins.put_in_force(&[Arc::new(server)]);
        pins
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("state/pins/tools_calc.v1.json")
    }

    /// Audit lines about definitions: tool, state, by whom.
    fn audited(&self) -> Vec<(String, String, Option<String>)> {
        assert!(self.telemetry.shutdown());
        let text = fs::read_to_string(self.dir.path().join("audit.log")).unwrap();
        let line = |line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(
                (&line["event"], &line["server"]),
                (&"tool_definition".into(), &"tools/calc.v1".into())
            );
            let text = |name: &str| line[name].as_str().map(ToOwned::to_owned);
            (text("tool").unwrap(), text("state").unwrap(), text("by"))
        };
        text.lines().map(line).collect()
    }
}

fn see(pins: &Pins, tools: &[(&str, &str)]) {
    let tools: Vec<(Arc<str>, &[u8])> = tools
        .iter()
        .map(|(tool, json)| ((*tool).into(), json.as_bytes()))
        .collect();
    pins.saw(&name(), tools.iter().map(|(tool, json)| (tool, *json)));
}

fn approve(pins: &Pins, tools: &[((&str, &str), Digest)]) -> Result<ObjectName, ApproveError> {
    pins.approve(&Approve {
        server: name().to_string(),
        tools: tools
            .iter()
            .map(|(tool, digest)| (tool.0.to_owned(), *digest))
            .collect(),
    })
}

fn state(pins: &Pins, tool: &str) -> Option<ToolState> {
    pins.table().server(&name()).unwrap().state(tool)
}

#[test]
fn what_is_seen_first_is_trusted_and_kept_over_a_restart() {
    let place = Place::new();
    let pins = place.pins();
    assert!(!pins.approves(&name(), "add"));
    see(&pins, &[]);
    assert!(!place.file().exists(), "a server that shows nothing yet was not seen");
    see(&pins, &[ADD, SUB]);
    assert!(pins.approves(&name(), "add") && pins.approves(&name(), "sub") && !pins.approves(&name(), "other"));
    assert_eq!(fs::metadata(place.file()).unwrap().permissions().mode() & 0o7777, 0o600);
    let directory = place.file().parent().unwrap().to_owned();
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(fs::read_dir(directory).unwrap().count(), 1);

    let again = place.pins();
    assert_eq!(state(&again, "add"), Some(ToolState::Absent));
    assert!(!again.approves(&name(), "add"), "what it shows now is not known");
    see(&again, &[POISONED, SUB, ("late", r#"{"name":"late"}"#)]);
    assert_eq!(state(&again, "add"), Some(ToolState::Drifted));
    assert_eq!(state(&again, "late"), Some(ToolState::New));
    assert!(again.approves(&name(), "sub") && !again.approves(&name(), "add") && !again.approves(&name(), "late"));
}

#[test]
fn a_change_is_told_once_and_one_back_makes_it_good() {
    let place = Place::new();
    let pins = place.pins();
    see(&pins, &[ADD]);
    for _ in 0..3 {
        see(&pins, &[POISONED]);
    }
    assert_eq!(pins.table().counts()[0].drifted, 1);
    see(&pins, &[ADD]);
    assert!(pins.approves(&name(), "add"));
    see(&pins, &[]);
    assert_eq!(state(&pins, "add"), Some(ToolState::Absent));
    let line = |state: &str, by: Option<&str>| ("add".to_owned(), state.to_owned(), by.map(ToOwned::to_owned));
    assert_eq!(
        place.audited(),
        [line("approved", Some("first_use")), line("drifted", None)]
    );
}

#[test]
fn nothing_is_approved_but_what_was_shown() {
    let place = Place::new();
    let pins = place.pins();
    see(&pins, &[ADD, SUB]);
    see(&pins, &[POISONED, SUB, ODD]);
    let shown = digest(POISONED);
    // Between the look and the approval the server changes it once more.
    let third = ("add", r#"{"name":"add","description":"Something else again"}"#);
    see(&pins, &[third, SUB, ODD]);
    let changed = approve(&pins, &[(SUB, digest(SUB)), (POISONED, shown)]).unwrap_err();
    assert!(matches!(&changed, ApproveError::Changed { tool, now } if tool == "add" && *now == digest(third)));
    assert_eq!(state(&pins, "add"), Some(ToolState::Drifted));
    for nothing in [("absent", "{}"), ODD] {
        let refused = approve(&pins, &[(nothing, shown)]).unwrap_err();
        assert!(matches!(refused, ApproveError::NoTool { .. }), "{refused}");
    }
    approve(&pins, &[(third, digest(third))]).unwrap();
    assert!(pins.approves(&name(), "add"));
    let restarted = place.pins();
    see(&restarted, &[third, ODD]);
    assert!(restarted.approves(&name(), "add"));
    assert_eq!(state(&restarted, "odd"), Some(ToolState::New));
    let elsewhere = Approve {
        server: "tools/other".to_owned(),
        tools: vec![],
    };
    assert!(matches!(pins.approve(&elsewhere), Err(ApproveError::NoServer(_))));
}

#[test]
fn a_file_that_cannot_be_trusted_approves_nothing_and_is_not_written_over() {
    let place = Place::new();
    see(&place.pins(), &[ADD, SUB]);
    let good = fs::read_to_string(place.file()).unwrap();
    let own = || fs::set_permissions(place.file(), Permissions::from_mode(0o600)).unwrap();
    let bad: [(&str, String, u32); 6] = [
        ("are not ours alone", good.clone(), 0o620),
        ("not of its form", "{".to_owned(), 0o600),
        ("a digest is not", good.replace("Adds", "Adds more"), 0o600),
        ("another server", good.replace("calc.v1", "calc.v2"), 0o600),
        (
            "another server or version",
            good.replace("\"version\": 1", "\"version\": 2"),
            0o600,
        ),
        ("a time cannot be read", good.replace("T", "x"), 0o600),
    ];
    for (reason, text, mode) in bad {
        own();
        fs::write(place.file(), &text).unwrap();
        fs::set_permissions(place.file(), Permissions::from_mode(mode)).unwrap();
        let pins = place.pins();
        see(&pins, &[ADD]);
        assert!(!pins.approves(&name(), "add"), "{reason}");
        let trouble = pins.table().counts()[0].trouble.clone().unwrap();
        assert!(trouble.contains(reason), "{trouble}");
        let refused = approve(&pins, &[(ADD, digest(ADD))]).unwrap_err();
        assert!(matches!(refused, ApproveError::Trouble { .. }), "{refused}");
        assert_eq!(fs::read_to_string(place.file()).unwrap(), text);
    }
    own();
    fs::write(place.file(), good).unwrap();
    let pins = place.pins();
    see(&pins, &[ADD]);
    assert!(pins.approves(&name(), "add"));
}

#[test]
fn what_cannot_be_kept_is_not_trusted() {
    let place = Place::new();
    let pins = place.pins();
    fs::write(place.dir.path().join("state"), "in the way").unwrap();
    see(&pins, &[ADD]);
    assert!(!pins.approves(&name(), "add"));
    assert!(
        pins.table().counts()[0]
            .trouble
            .as_ref()
            .unwrap()
            .contains("cannot make the directory")
    );
    fs::remove_file(place.dir.path().join("state")).unwrap();
    see(&pins, &[ADD]);
    assert!(pins.approves(&name(), "add"));
    assert_eq!(pins.table().counts()[0].trouble, None);
}

#[test]
fn more_tools_than_are_kept_are_not_approved() {
    let place = Place::new();
    let pins = place.pins();
    let names: Vec<String> = (0..=limits::MAX_TOOLS).map(|n| format!("t{n:05}")).collect();
    let tools: Vec<(String, String)> = names
        .iter()
        .map(|name| (name.clone(), format!(r#"{{"name":"{name}"}}"#)))
        .collect();
    let tools: Vec<(&str, &str)> = tools.iter().map(|(name, json)| (&**name, &**json)).collect();
    see(&pins, &tools);
    assert!(pins.approves(&name(), &names[0]) && pins.approves(&name(), &names[limits::MAX_TOOLS - 1]));
    assert!(!pins.approves(&name(), &names[limits::MAX_TOOLS]));
    let large = format!(r#"{{"name":"t","description":"{}"}}"#, "x".repeat(200 * 1024));
    let many: Vec<(&str, &str)> = names[..100].iter().map(|name| (&**name, &*large)).collect();
    see(&pins, &many);
    let status = pins.table().status(Some(&name()));
    let kept: usize = status[0]
        .tools
        .iter()
        .filter_map(|tool| tool.seen.as_ref()?.definition.as_ref())
        .map(String::len)
        .sum();
    assert!(kept > limits::MAX_BYTES / 2 && kept <= limits::MAX_BYTES, "{kept}");
}

#[test]
fn a_server_that_is_no_longer_pinned_is_forgotten_and_its_file_is_not() {
    let place = Place::new();
    let pins = place.pins();
    see(&pins, &[ADD]);
    pins.put_in_force(&[Arc::new(Server::at(name(), vec![]))]);
    assert!(!pins.wants(&name()) && pins.table().counts().is_empty());
    assert!(place.file().exists());
}

#[test]
fn a_call_by_the_plan_before_finds_what_it_was_decided_by_until_the_next_change() {
    let place = Place::new();
    let pins = place.pins();
    see(&pins, &[ADD]);
    see(&pins, &[ADD, SUB]);
    pins.put_in_force(&[]);
    let found = || (pins.approves(&name(), "add"), pins.approves(&name(), "sub"));
    assert_eq!(found(), (true, false));
    assert!(
        !pins.wants(&name()) && pins.table().status(None).is_empty(),
        "it is pinned no more"
    );
    pins.put_in_force(&[]);
    assert_eq!(found(), (false, false));
}

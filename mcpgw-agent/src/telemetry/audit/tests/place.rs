//! Settings that name another place for the lines.

use super::*;

/// Settings that name this file.
fn writing_to(path: &Path) -> AuditSettings {
    AuditSettings {
        sink: Some(AuditSink::File(path.to_owned())),
        ..AuditSettings::default()
    }
}

#[test]
fn a_change_of_place_loses_no_line_and_doubles_none() {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["a", "b", "c"].map(|name| directory.path().join(name));
    let audit = Audit::start("n", &AuditSink::File(paths[0].clone()), None).unwrap();
    let mut expected = Vec::new();
    for number in 0..300 {
        let settings = match number % 3 {
            0 => AuditSettings::default(),
            place => writing_to(&paths[place]),
        };
        audit.set(&settings);
        for half in [2 * number, 2 * number + 1] {
            push(&audit, call(half));
            expected.push(half.to_string());
        }
    }
    assert!(audit.shutdown());
    assert_eq!(audit.health(), AuditHealth::default());
    let mut written: Vec<String> = paths
        .iter()
        .filter(|path| path.exists())
        .flat_map(|path| tools_in(path))
        .collect();
    written.sort_unstable_by_key(|tool| tool.parse::<usize>().unwrap());
    assert_eq!(written, expected);
}

#[test]
fn a_place_that_cannot_be_opened_is_told_and_lines_go_where_they_went_until_it_can() {
    let directory = tempfile::tempdir().unwrap();
    let (old, late) = (directory.path().join("old"), directory.path().join("late/audit.log"));
    let audit = Audit::start("n", &AuditSink::File(old.clone()), None).unwrap();
    audit.set(&writing_to(&late));
    // Also where no line comes.
    until(|| audit.health().error.is_some());
    let error = audit.health().error.unwrap();
    assert!(
        error.contains("late/audit.log") && error.ends_with("lines go where they went before"),
        "{error}"
    );
    push(&audit, call(1));
    until(|| audit.health().waiting == 0);
    fs::create_dir(late.parent().unwrap()).unwrap();
    push(&audit, call(2));
    until(|| audit.health() == AuditHealth::default());
    assert!(audit.shutdown());
    assert_eq!(
        (tools_in(&old), tools_in(&late)),
        (vec!["1".to_owned()], vec!["2".to_owned()])
    );
}

#[test]
fn lines_that_wait_for_a_full_disk_go_to_the_place_that_settings_name_then() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let audit = Audit::start("n", &AuditSink::File("/dev/full".into()), None).unwrap();
    let blocking = |settings| AuditSettings {
        on_full: OnFull::Block,
        ..settings
    };
    audit.set(&blocking(AuditSettings::default()));
    push(&audit, call(1));
    until(|| audit.health().error.is_some());
    audit.set(&blocking(writing_to(&path)));
    until(|| audit.health() == AuditHealth::default());
    assert!(audit.shutdown());
    assert_eq!(tools_in(&path), ["1"]);
}

//! Settings that name another place for the lines.

use std::io::BufRead;

use nix::{sys::stat::Mode, unistd::mkfifo};

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
fn a_pipe_that_nobody_reads_holds_nothing_up_and_takes_lines_when_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let (old, pipe) = (directory.path().join("old"), directory.path().join("pipe"));
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let audit = Audit::start("n", &AuditSink::File(old.clone()), None).unwrap();
    audit.set(&writing_to(&pipe));
    until(|| audit.health().error.is_some_and(|error| error.contains("pipe")));
    push(&audit, call(1));
    until(|| audit.health().waiting == 0);
    assert_eq!(tools_in(&old), ["1"]);
    let read = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    // More than the pipe has room for at a time: it is waited for who reads, and no line is cut.
    let many = 500;
    (0..many).for_each(|number| push(&audit, call(number)));
    let lines = io::BufReader::new(read).lines().take(many);
    let read: Vec<usize> = lines.map(|line| tool_in(&line.unwrap()).parse().unwrap()).collect();
    assert_eq!(read, (0..many).collect::<Vec<_>>());
    until(|| audit.health() == AuditHealth::default());
    assert!(audit.shutdown());
}

#[test]
fn while_a_place_is_being_opened_another_can_be_named_and_that_is_where_lines_go() {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["first", "slow", "then"].map(|name| directory.path().join(name));
    let [first, slow, then] = paths.each_ref().map(|path| AuditSink::File(path.clone()));
    let rotation = Arc::<Rotation>::default();
    let opened = |sink: &AuditSink| super::super::place::open(sink, &rotation);
    let wanted = Wanted::new(first.clone());
    let mut followed = Followed::new(Arc::clone(&wanted), opened(&first).unwrap(), Arc::clone(&rotation));
    wanted.set(slow);
    followed.follow_by(|sink| {
        wanted.set(then);
        assert_eq!(wanted.problem(), None);
        opened(sink)
    });
    followed.write(b"line").unwrap();
    let written = paths.map(|path| fs::read_to_string(path).unwrap());
    assert_eq!(written, ["", "", "line"]);
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

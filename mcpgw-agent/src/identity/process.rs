//! What is behind a pid, unless the pid has been given to another process since.

use std::{fs, path::PathBuf, sync::OnceLock};

/// What a process is, as far as it can be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its executable, as the process sees the path.
    pub executable: Option<PathBuf>,
    /// Its container: the last part of its cgroup's path, which container runtimes name by the container's id.
    pub container: Option<String>,
}

/// What process `pid` is, provided that it is not younger than `connected_at` (nanoseconds since boot): a younger one
/// is another process under a reused pid. Nothing where it is gone or not ours to see.
pub fn seen(pid: u32, connected_at: u64) -> Seen {
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok();
    // Last: what was read before was this process's own.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    match stat.and_then(|stat| started_at(&stat)) {
        Some(started) if started <= connected_at => Seen {
            executable,
            container: cgroup.and_then(|text| container_in(&text)),
        },
        _ => Seen::default(),
    }
}

/// The container in the text of `/proc/PID/cgroup`. systemd's name for it, `cri-containerd-<id>.scope`, is cut to the
/// id.
fn container_in(text: &str) -> Option<String> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let last = path.rsplit('/').next().filter(|last| !last.is_empty())?;
    let id = last
        .strip_suffix(".scope")
        .map(|scope| scope.rsplit_once('-').map_or(scope, |(_, id)| id));
    Some(id.unwrap_or(last).to_owned())
}

/// Nanoseconds since boot at which the process started: field 22 of `/proc/PID/stat`, in clock ticks.
fn started_at(stat: &str) -> Option<u64> {
    // The second field is the command in parentheses, which may itself hold spaces and parentheses.
    let (_, after_command) = stat.rsplit_once(')')?;
    let ticks: u64 = after_command.split_ascii_whitespace().nth(19)?.parse().ok()?;
    ticks.checked_mul(1_000_000_000 / ticks_per_second()?)
}

fn ticks_per_second() -> Option<u64> {
    static TICKS: OnceLock<Option<u64>> = OnceLock::new();
    *TICKS.get_or_init(|| {
        let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
        u64::try_from(ticks).ok().filter(|ticks| *ticks > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_executable_of_a_live_process() {
        let own = std::env::current_exe().unwrap();
        assert_eq!(seen(std::process::id(), u64::MAX).executable, Some(own));
    }

    #[test]
    fn a_process_younger_than_the_connection_is_another_one() {
        assert_eq!(seen(std::process::id(), 0), Seen::default());
    }

    #[test]
    fn a_container_is_the_last_part_of_the_cgroup_by_its_id() {
        let of = |path: &str| container_in(&format!("1:name=systemd:/x\n0::{path}\n"));
        assert_eq!(of("/kubepods/burstable/pod1-2/0a1b").as_deref(), Some("0a1b"));
        assert_eq!(
            of("/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-0a1b.scope").as_deref(),
            Some("0a1b")
        );
        assert_eq!(of("/system.slice/agent.service").as_deref(), Some("agent.service"));
        assert_eq!(of("/"), None);
        assert_eq!(container_in("1:cpu:/a\n"), None);
    }

    #[test]
    fn a_command_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let fields: Vec<String> = (3..=52).map(|n| n.to_string()).collect();
        let stat = format!("7 (a) b (c)) {}", fields.join(" "));
        assert_eq!(
            started_at(&stat),
            Some(22 * 1_000_000_000 / ticks_per_second().unwrap())
        );
    }
}

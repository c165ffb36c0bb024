//! The executable behind a pid, unless the pid has been given to another process since.

use std::{fs, path::PathBuf, sync::OnceLock};

/// The executable of process `pid`, provided that the process is not younger than `connected_at`
/// (nanoseconds since boot): a younger one is another process under a reused pid.
///
/// `None` when the process is gone or not ours to see. The path is as the process sees it.
pub fn executable_of(pid: u32, connected_at: u64) -> Option<PathBuf> {
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    (started_at(&stat)? <= connected_at).then_some(executable)
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
        assert_eq!(executable_of(std::process::id(), u64::MAX), Some(own));
    }

    #[test]
    fn a_process_younger_than_the_connection_is_another_one() {
        assert_eq!(executable_of(std::process::id(), 0), None);
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

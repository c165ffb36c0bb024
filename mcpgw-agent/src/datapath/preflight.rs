//! What the machine must have, checked before anything is touched, and all at once.

use std::{fs, path::Path};

use nix::sys::statfs::{self, BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC};

use super::{DatapathError, NodeOptions, cgroup};

/// The oldest kernel with everything that the programs call (`bpf_set_retval`).
const OLDEST_KERNEL: (u32, u32) = (5, 18);

/// Capabilities by number, with what needs them.
const CAPABILITIES: [(u32, &str, &str); 5] = [
    (39, "CAP_BPF", "to load programs and maps"),
    (38, "CAP_PERFMON", "for the verifier to admit the programs"),
    (12, "CAP_NET_ADMIN", "to attach programs to a cgroup"),
    (21, "CAP_SYS_ADMIN", "to open listeners in network namespaces"),
    (19, "CAP_SYS_PTRACE", "to find the network namespaces of workloads"),
];

/// Checks the machine; the error lists everything that is missing, each with what to do.
pub fn check(options: &NodeOptions) -> Result<(), DatapathError> {
    let mut missing = Vec::new();
    check_kernel(&mut missing);
    check_capabilities(&mut missing);
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        missing.push("no BTF (/sys/kernel/btf/vmlinux): use a kernel built with CONFIG_DEBUG_INFO_BTF".to_owned());
    }
    check_bpffs(&options.bpffs, &mut missing);
    check_cgroup(&options.cgroup, &mut missing);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(DatapathError::Preflight(missing))
    }
}

fn check_kernel(missing: &mut Vec<String>) {
    let Ok(uname) = nix::sys::utsname::uname() else {
        return missing.push("the kernel does not tell its version".to_owned());
    };
    let release = uname.release().to_string_lossy().into_owned();
    if kernel_version(&release).is_none_or(|version| version < OLDEST_KERNEL) {
        let (major, minor) = OLDEST_KERNEL;
        missing.push(format!("kernel {release} is too old: use {major}.{minor} or newer"));
    }
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn check_capabilities(missing: &mut Vec<String>) {
    let effective = fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| effective_capabilities(&status))
        .unwrap_or_default();
    for (number, name, purpose) in CAPABILITIES {
        if effective & (1 << number) == 0 {
            missing.push(format!("no {name}, {purpose}: run as root, or grant the capability"));
        }
    }
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn check_bpffs(bpffs: &Path, missing: &mut Vec<String>) {
    let path = bpffs.display();
    match statfs::statfs(bpffs) {
        Ok(stat) if stat.filesystem_type() == BPF_FS_MAGIC => {}
        Ok(_) => missing.push(format!(
            "{path} is not bpffs: run `mount -t bpf bpf {path}`, or give --bpffs"
        )),
        Err(error) => missing.push(format!(
            "no bpffs at {path} ({error}): create it and run `mount -t bpf bpf {path}`"
        )),
    }
}

fn check_cgroup(cgroup: &Path, missing: &mut Vec<String>) {
    let path = cgroup.display();
    match statfs::statfs(cgroup) {
        Ok(stat) if stat.filesystem_type() == CGROUP2_SUPER_MAGIC => {}
        Ok(_) => missing.push(match cgroup::mount() {
            Ok(mount) => format!(
                "{path} is not in the cgroup v2 hierarchy: give --cgroup a directory below {}",
                mount.display()
            ),
            Err(_) => format!("{path} is not in the cgroup v2 hierarchy, and that is mounted nowhere: mount it first"),
        }),
        Err(error) => missing.push(format!(
            "no cgroup at {path} ({error}): create it, or give --cgroup another"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_kernel_versions_of_every_distribution() {
        for (release, version) in [
            ("6.18.44-fc-v657", (6, 18)),
            ("5.15.0-91-generic", (5, 15)),
            ("6.1", (6, 1)),
        ] {
            assert_eq!(kernel_version(release), Some(version));
        }
        assert_eq!(kernel_version("next"), None);
    }

    #[test]
    fn reads_effective_capabilities() {
        assert_eq!(
            effective_capabilities("CapPrm:\t01\nCapEff:\t0000008000000000\n"),
            Some(1 << 39)
        );
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let options = NodeOptions {
            node: "n".into(),
            cgroup: "/nowhere/cgroup".into(),
            bpffs: "/nowhere/bpf".into(),
            state_dir: "/nowhere".into(),
            listener_port: 17017,
            bpf_log: None,
        };
        let error = check(&options).unwrap_err().to_string();
        assert!(
            error.contains("/nowhere/cgroup") && error.contains("mount -t bpf bpf /nowhere/bpf"),
            "{error}"
        );
    }
}

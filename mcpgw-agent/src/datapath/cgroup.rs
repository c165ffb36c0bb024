//! cgroup v2: where it is mounted, ids, processes.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Directories below a workload's cgroup that are searched for processes; containers, not a forest.
const MAX_DIRECTORIES: usize = 1_024;

/// Where cgroup v2 is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on hybrid machines.
pub fn mount() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    mounts
        .lines()
        .find_map(|line| {
            let mut fields = line.split(' ');
            let (_, path, kind) = (fields.next()?, fields.next()?, fields.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(path))
        })
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "cgroup v2 is not mounted"))
}

/// The id of a cgroup as eBPF knows it: the inode of its directory. `None` if there is none.
pub fn id(path: &Path) -> Option<u64> {
    fs::metadata(path)
        .ok()
        .filter(fs::Metadata::is_dir)
        .map(|metadata| metadata.ino())
}

/// The path of this process's own cgroup below the mount.
pub fn own() -> io::Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup")?;
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(PathBuf::from)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "this process is in no cgroup v2"))
}

/// The processes in a cgroup and below it. Cgroups that disappear meanwhile are passed over.
pub fn processes(path: &Path) -> Vec<u32> {
    let mut found = Vec::new();
    let mut directories = vec![path.to_owned()];
    for _ in 0..MAX_DIRECTORIES {
        let Some(directory) = directories.pop() else { break };
        if let Ok(text) = fs::read_to_string(directory.join("cgroup.procs")) {
            found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        directories.extend(
            entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|e| e.path()),
        );
    }
    found
}

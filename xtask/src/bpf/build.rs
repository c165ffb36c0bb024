//! Compiles and links the programs: the same bytes in whatever directory.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::tools::variable;

use super::toolchain::Toolchain;
use crate::{command, project};

/// What it is compiled for: BPF, little endian.
pub const TARGET: &str = "bpfel-unknown-none";

/// Compiler flags, but for those that hide this machine's directories.
pub const FLAGS: [&str; 3] = ["--cfg=bpf_target_arch=\"x86_64\"", "-Cdebuginfo=2", "-Clink-arg=--btf"];

/// Builds the object and returns its bytes. It has BTF and no DWARF.
pub fn build(toolchain: &Toolchain) -> Result<Vec<u8>> {
    let target = project::target()?.join("bpf");
    let linkers = toolchain.bpf_linker.parent().context("bpf-linker has no directory")?;
    let built = command::succeeds(
        command::cargo()
            .args([
                "build",
                "--locked",
                "--release",
                "--package",
                "mcpgw-ebpf",
                "--target",
                TARGET,
            ])
            .args(["-Z", "build-std=core", "--target-dir"])
            .arg(&target)
            // Stable rustc builds `core` only when told that it may.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags()?.join("\x1f"))
            .env_remove("RUSTFLAGS")
            .env("PATH", command::path_with(linkers)?),
    )?;
    ensure!(built, "cargo build of mcpgw-ebpf failed");
    let linked = target.join(TARGET).join("release/mcpgw-ebpf");
    let stripped = target.join("mcpgw.bpf.o");
    command::output(
        Command::new(&toolchain.bpftool)
            .args(["gen", "object"])
            .arg(&stripped)
            .arg(&linked),
    )?;
    fs::read(&stripped).with_context(|| format!("read {}", stripped.display()))
}

/// All flags: paths of this machine would make the object differ from another's.
fn flags() -> Result<Vec<String>> {
    let cargo_home = match variable("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(variable("HOME").context("neither CARGO_HOME nor HOME is set")?).join(".cargo"),
    };
    let sysroot = command::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let remap = |from: &str, to: &str| format!("--remap-path-prefix={from}={to}");
    let mut flags: Vec<String> = FLAGS.map(str::to_owned).to_vec();
    let registry = cargo_home.join("registry/src");
    flags.push(remap(&registry.display().to_string(), "/cargo"));
    // Cargo names a directory in it after the registry, or after the mirror that stands in for it.
    for mirror in fs::read_dir(&registry).into_iter().flatten().flatten() {
        flags.push(remap(&mirror.path().display().to_string(), "/cargo"));
    }
    flags.push(remap(&sysroot, "/rust"));
    // Where the source of `core` is a link into the cache, rustc names the link's end.
    let library = fs::canonicalize(PathBuf::from(&sysroot).join("lib/rustlib/src/rust"));
    if let Ok(library) = library {
        flags.push(remap(&library.display().to_string(), "/rust/lib/rustlib/src/rust"));
    }
    flags.push(remap(&project::root().display().to_string(), "/src"));
    Ok(flags)
}

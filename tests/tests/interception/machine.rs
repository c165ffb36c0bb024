//! What the machine lacks is named, with what to do, and nothing is left behind.

use std::os::unix::process::CommandExt;

use anyhow::Result;
use mcpgw_tests::Node;

/// Runs `mcpgw run` with one thing wrong, and expects its error to say all of `words`.
fn fails(node: &Node, arguments: &[&str], drop_capability: Option<libc::c_ulong>, words: &[&str]) -> Result<()> {
    let mut command = node.mcpgw()?;
    command.arg("run").args(arguments);
    if let Some(capability) = drop_capability {
        // SAFETY: prctl is async-signal-safe, and touches the child alone.
        unsafe {
            command.pre_exec(move || match libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            })
        };
    }
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for word in words {
        assert!(errors.contains(word), "{word:?} is not in: {errors}");
    }
    assert!(
        !node.pin_directory().join("mcpgw").exists(),
        "something was left in bpffs"
    );
    Ok(())
}

#[test]
fn what_is_missing_is_named_with_what_to_do() -> Result<()> {
    const CAP_BPF: libc::c_ulong = 39;
    let node = Node::new()?;
    fails(&node, &[], Some(CAP_BPF), &["CAP_BPF", "grant the capability"])?;
    fails(
        &node,
        &["--bpffs", "/nowhere/bpf"],
        None,
        &["/nowhere/bpf", "mount -t bpf bpf"],
    )?;
    let state = node.state_directory();
    let state = state.to_string_lossy();
    fails(&node, &["--bpffs", &state], None, &["is not bpffs"])?;
    fails(
        &node,
        &["--cgroup", "/nowhere/cgroup"],
        None,
        &["/nowhere/cgroup", "--cgroup"],
    )?;
    fails(&node, &["--cgroup", "/proc"], None, &["/proc", "cgroup v2"])
}

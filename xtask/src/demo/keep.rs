//! `--keep`: commands to try in another terminal.

use anyhow::Result;
use mcpgw_tests::binary;

use super::scene::Scene;
use crate::ui;

/// Prints them.
pub fn commands(scene: &Scene) -> Result<()> {
    let (mcpgw, client) = (binary("mcpgw")?, binary("rmcp-client")?);
    let (mcpgw, client) = (mcpgw.display(), client.display());
    let (node, pod) = (scene.node.netns().path(), scene.pod.netns().path());
    let container = scene.pod.container().directory().join("cgroup.procs");
    let options = format!(
        "--node {} --state-dir {}",
        scene.node.name(),
        scene.node.state_directory().display()
    );
    let call = format!("exec nsenter --net={} {client} {}", pod.display(), scene.server.url());
    let in_pod = |arguments: &str| format!("sh -c 'echo $$ >{} && {call} {arguments}'", container.display());
    println!("\n{}", ui::bold("It keeps running. In another terminal, as root:"));
    let commands = [
        (
            "what is in force, as the kernel reports it",
            format!("{mcpgw} status {options}"),
        ),
        ("an allowed call", in_pod(r#"--call add {\"a\":1,\"b\":2}"#)),
        ("a denied one", in_pod("--call delete_everything {}")),
        (
            "the metrics",
            format!("nsenter --net={} curl -s http://127.0.0.1:9090/metrics", node.display()),
        ),
        (
            "change the configuration; it is taken over at once",
            format!("ls {}", scene.node.config_directory().display()),
        ),
    ];
    for (what, command) in commands {
        println!("  {}\n    {command}", ui::dim(format!("# {what}")));
    }
    println!("\n{}", ui::yellow("Ctrl-C ends it and removes everything."));
    Ok(())
}

//! A server of several replicas: a session stays with the one that opened it.

use std::thread;

use anyhow::{Result, anyhow, ensure};
use mcpgw_tests::{McpPeer, Node, Server, resources, until};
use serde_json::json;

use crate::scene::KNOWN;

const SESSIONS: usize = 64;
const CALLS: usize = 5;

#[test]
fn sessions_stay_with_their_replica_and_all_replicas_have_some() -> Result<()> {
    let node = Node::new()?;
    let replicas: Vec<Server> = (1..=3)
        .map(|number| node.server(&format!("calc-{number}"), McpPeer::Rmcp))
        .collect::<Result<_>>()?;
    let agents = node.pod("agents").build()?;
    let addresses: Vec<_> = replicas.iter().map(Server::address).collect();
    let gateway = (agents.gateway_ipv4(), 8080).into();
    node.configure(
        "node.yaml",
        &[
            resources::gateway(gateway),
            resources::workload("tools", "research", &agents, "enforce"),
            resources::mcp_server("tools", "calc", &addresses, "/mcp"),
        ],
    )?;
    let agent = node.agent()?;
    until(KNOWN, "the server to be known", || {
        agent.status().unwrap_or_default()["offers"][0]["state"] == "Ready"
    })?;
    let url = format!("http://{gateway}/mcp");
    let sums = thread::scope(|scope| {
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|session| {
                let (agents, url) = (&agents, &url);
                scope.spawn(move || -> Result<Vec<Option<String>>> {
                    let calls: Vec<_> = (0..CALLS)
                        .map(|call| ("calc_add", json!({"a": session * 100, "b": call})))
                        .collect();
                    let answers = agents.mcp(url).session(&calls)?;
                    Ok(answers.iter().map(|answer| answer.text().map(str::to_owned)).collect())
                })
            })
            .collect();
        let joined = sessions.into_iter().map(|session| session.join());
        joined
            .map(|session| session.map_err(|_| anyhow!("a session panicked"))?)
            .collect::<Result<Vec<_>>>()
    })?;
    for (session, sums) in sums.iter().enumerate() {
        let expected: Vec<_> = (0..CALLS)
            .map(|call| Some((session * 100 + call).to_string()))
            .collect();
        assert_eq!(*sums, expected);
    }
    let lost = agent.audit().into_iter().filter(|line| line["status"] == 404).count();
    assert_eq!(lost, 0, "no session was lost");
    let executed: Vec<u64> = replicas
        .iter()
        .map(|server| server.executed("add"))
        .collect::<Result<_>>()?;
    println!("calls by replica: {executed:?}");
    ensure!(
        executed.iter().sum::<u64>() == (SESSIONS * CALLS) as u64,
        "{executed:?}"
    );
    ensure!(
        executed.iter().all(|calls| calls % CALLS as u64 == 0),
        "a session was divided: {executed:?}"
    );
    ensure!(
        executed.iter().all(|calls| *calls > 0),
        "a replica has nothing to do: {executed:?}"
    );
    Ok(())
}

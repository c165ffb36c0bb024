//! Maps without room.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use aya::maps::{HashMap, Map, MapData, MapError};
use mcpgw_common::{Endpoint, layout::MAX_GOVERNED};
use mcpgw_tests::{AgentOptions, McpPeer, Node, resources, until};

use crate::scene::{SOON, Scene};

/// For tens of thousands of addresses to be read and written.
const PATIENCE: Duration = Duration::from_secs(60);

/// The map of governed addresses, as it is pinned.
fn governed(node: &Node) -> Result<HashMap<MapData, [u8; size_of::<Endpoint>()], u32>> {
    let below = |path: PathBuf| -> Result<PathBuf> {
        let entry = fs::read_dir(&path)?
            .next()
            .with_context(|| format!("{} is empty", path.display()))?;
        Ok(entry?.path())
    };
    let pins = below(below(node.pin_directory().join("mcpgw"))?)?;
    let map = Map::HashMap(MapData::from_pin(pins.join("maps/GOVERNED"))?);
    Ok(HashMap::try_from(map)?)
}

#[test]
fn what_is_left_in_a_full_map_makes_room_for_what_is_governed() -> Result<()> {
    let scene = Scene::with(McpPeer::Rmcp, &[], |_| Ok(()))?;
    let other = scene.node.server("other", McpPeer::Rmcp)?;
    let mut map = governed(&scene.node)?;
    let full = (0_u64..).find_map(|number| {
        let mut key = [0xff; size_of::<Endpoint>()];
        key[..8].copy_from_slice(&number.to_ne_bytes());
        map.insert(key, 1, 0).err()
    });
    match full {
        Some(MapError::SyscallError(error)) => assert_eq!(error.io_error.raw_os_error(), Some(libc::E2BIG)),
        full => panic!("{full:?}"),
    }
    let document = resources::mcp_server("tools", "other", &other.addresses(), "/mcp");
    scene.node.configure("other.yaml", &[document])?;
    until(SOON, "the other server to be governed", || {
        let before = other.direct_from(&scene.pod);
        let dialled = scene.pod.connect(other.address(), &[]);
        dialled.is_ok_and(|dialled| dialled.connected) && other.direct_from(&scene.pod) == before
    })?;
    assert_eq!(scene.agent.status()?["datapath"]["error"], serde_json::Value::Null);
    assert!(scene.pod.connect(scene.server.address(), &[])?.connected);
    assert_eq!(scene.server.direct_from(&scene.pod), 0);
    Ok(())
}

#[test]
fn more_than_a_map_holds_is_said_by_name() -> Result<()> {
    let node = Node::new()?;
    let pod = node.pod("agent").build()?;
    let document = |server: u32| {
        let addresses: Vec<SocketAddr> = (0..256_u32)
            .map(|last| SocketAddr::from((std::net::Ipv4Addr::from(0x0a80_0000 | server << 8 | last), 80)))
            .collect();
        resources::mcp_server("tools", &format!("s{server}"), &addresses, "/mcp")
    };
    let documents: Vec<String> = (0..MAX_GOVERNED / 256).map(document).collect();
    // A file has its bound, too.
    for (number, documents) in documents.chunks(64).enumerate() {
        node.configure(&format!("servers-{number}.yaml"), documents)?;
    }
    let one_too_many = resources::gateway((pod.gateway_ipv4(), 8080).into());
    let workload = resources::workload("agents", "research", &pod, "enforce");
    node.configure("node.yaml", &[one_too_many, workload])?;
    let agent = node.agent_with(AgentOptions {
        without_waiting: true,
        ..AgentOptions::default()
    })?;
    let datapath = || agent.status().unwrap_or_default()["datapath"].clone();
    until(PATIENCE, "the full map to be said", || {
        let error = datapath()["error"].to_string();
        error.contains("MapFull: GOVERNED") && error.contains(&(MAX_GOVERNED + 1).to_string())
    })?;
    // What has an entry is governed all the same.
    assert!(
        datapath()["programs"]
            .as_array()
            .is_some_and(|programs| !programs.is_empty())
    );
    Ok(())
}

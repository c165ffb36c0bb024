//! Modern clients that listen at servers of the legacy era, through the gateway: all in one session there, which has
//! one stream.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{McpPeer, NetNs};
use serde_json::{Value, json};

use crate::scene::{Scene, Way};

/// For something to be heard, also of a server that was away; everything says what is new every 5 s.
const HEARD: Duration = Duration::from_secs(60);
/// For something to be heard of a server that is well.
const SOON: Duration = Duration::from_secs(6);

/// A POST of a modern client.
fn post(id: u32, method: &str, name: Option<&str>, mut params: Value) -> String {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "listener", "version": "1"},
    });
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
    let named = name.map(|name| format!("mcp-name: {name}\r\n")).unwrap_or_default();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\naccept: application/json, \
         text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\n{named}content-length: \
         {}\r\n\r\n{body}",
        body.len()
    )
}

/// A client's connection, and what it has read of it.
struct Client {
    stream: TcpStream,
    read: String,
}

impl Client {
    fn send(netns: &NetNs, gateway: SocketAddr, request: &str) -> Result<Self> {
        let mut stream = netns.run(|| TcpStream::connect(gateway))?;
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        stream.write_all(request.as_bytes())?;
        let read = String::new();
        Ok(Self { stream, read })
    }

    /// Whether something has come, or comes within a few seconds.
    fn hears_soon(&mut self, what: &str) -> bool {
        self.within(what, SOON).is_ok()
    }

    /// Reads until this has come; what came with it.
    fn until(&mut self, what: &str) -> Result<String> {
        self.within(what, HEARD)?;
        Ok(std::mem::take(&mut self.read))
    }

    fn within(&mut self, what: &str, limit: Duration) -> Result<()> {
        let since = Instant::now();
        let mut chunk = [0; 4096];
        while !self.read.contains(what) {
            ensure!(since.elapsed() < limit, "{what:?} did not come: {:?}", self.read);
            match self.stream.read(&mut chunk) {
                Ok(0) => anyhow::bail!("ended before {what:?}: {:?}", self.read),
                Ok(count) => self.read.push_str(&String::from_utf8_lossy(&chunk[..count])),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn call(netns: &NetNs, gateway: SocketAddr, tool: &str, arguments: Value) -> Result<()> {
    let request = post(
        9,
        "tools/call",
        Some(tool),
        json!({"name": tool, "arguments": arguments}),
    );
    let answer = Client::send(netns, gateway, &request)?.until("\"id\":9")?;
    ensure!(answer.contains("\"result\""), "{answer}");
    Ok(())
}

/// Listens twice: to both resources, and to the second alone. `touch` has the server say that both changed.
fn hear(netns: &NetNs, gateway: SocketAddr, uris: [&str; 2], touch: impl Fn() -> Result<()>) -> Result<[Client; 2]> {
    let listen = |id, uris: &[&str]| {
        let params = json!({"notifications": {"resourceSubscriptions": uris}});
        let mut client = Client::send(netns, gateway, &post(id, "subscriptions/listen", None, params))?;
        let acknowledged = client.until("\n\n")?;
        for uri in uris {
            ensure!(acknowledged.contains(uri), "{uri}: {acknowledged}");
        }
        anyhow::Ok(client)
    };
    let mut both = listen(1, &uris).context("the first listener")?;
    let mut second = listen(2, &uris[1..]).context("the second listener")?;
    touch()?;
    let heard = both.until(uris[1])?;
    let heard = match heard.contains(uris[0]) {
        true => heard,
        false => heard + &both.until(uris[0])?,
    };
    ensure!(heard.contains("resources/updated"), "{heard}");
    let heard = second.until(uris[1])?;
    ensure!(!heard.contains(uris[0]), "not asked for: {heard}");
    Ok([both, second])
}

#[test]
fn modern_clients_share_the_one_stream_of_a_legacy_server_and_hear_it_again_when_it_comes_back() -> Result<()> {
    let peers = [("everything", McpPeer::Everything), ("python", McpPeer::PythonSse)];
    let mut scene = Scene::new(&peers)?;
    let gateway = scene.address(Way::Gateway, &scene.servers[0].1);
    let netns = scene.pod(Way::Gateway).netns().try_clone()?;
    let notes = ["note://fixed", "note://other"];
    let touch = || {
        notes
            .iter()
            .try_for_each(|uri| call(&netns, gateway, "python_touch", json!({ "uri": uri })))
    };
    let mut python = hear(&netns, gateway, notes, touch).context("python")?;
    let document = |name: &str| format!("demo://resource/static/document/{name}.md");
    let (first, second) = (document("architecture"), document("features"));
    let toggle = || call(&netns, gateway, "everything_toggle-subscriber-updates", json!({}));
    let mut everything = hear(&netns, gateway, [&first, &second], toggle).context("everything")?;
    // They only listen; the servers forget them.
    for (_, server) in &mut scene.servers {
        server.restart()?;
    }
    let since = Instant::now();
    let again = |clients: &mut [Client; 2], uri: &str, touch: &dyn Fn() -> Result<()>| -> Result<()> {
        for client in clients.iter_mut() {
            client.read.clear();
        }
        loop {
            ensure!(since.elapsed() < HEARD * 2, "{uri} is not heard again");
            // Until its session is open again, the server has nobody to tell.
            if touch().is_ok() && clients.iter_mut().all(|client| client.hears_soon(uri)) {
                return Ok(());
            }
        }
    };
    again(&mut python, notes[1], &touch).context("python")?;
    again(&mut everything, &second, &toggle).context("everything")
}

//! Modern clients that listen at servers of the legacy era, through the gateway: all in one session there, which has
//! one stream.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{McpPeer, Process};
use serde_json::{Value, json};

use crate::scene::{Scene, Way};

/// For something to be heard, also of a server that was away; everything says what is new every 5 s.
const HEARD: Duration = Duration::from_secs(60);
/// For something to be heard of a server that is well.
const SOON: Duration = Duration::from_secs(6);

/// A modern client's request on its way, and how much of what came was looked at.
struct Client {
    process: Process,
    seen: usize,
}

impl Client {
    fn send(scene: &Scene, id: u32, method: &str, name: Option<&str>, mut params: Value) -> Result<Self> {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "listener", "version": "1"},
        });
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
        let mut headers = vec![
            "content-type: application/json".to_owned(),
            "accept: application/json, text/event-stream".to_owned(),
            "mcp-protocol-version: 2026-07-28".to_owned(),
            format!("mcp-method: {method}"),
        ];
        headers.extend(name.map(|name| format!("mcp-name: {name}")));
        let mut command = scene.pod(Way::Gateway).command("curl")?;
        // With the line that ends an answer in JSON.
        command.args(["--silent", "--no-buffer", "--write-out", "\n", "--data", &body]);
        for header in &headers {
            command.args(["--header", header]);
        }
        command.arg(scene.url(Way::Gateway, &scene.servers[0].1));
        let process = Process::spawn("listener", command)?;
        Ok(Self { process, seen: 0 })
    }

    /// Waits for a line with this among those that were not looked at; all of these.
    fn until(&mut self, what: &str) -> Result<String> {
        self.within(what, HEARD)
    }

    fn within(&mut self, what: &str, limit: Duration) -> Result<String> {
        let since = Instant::now();
        loop {
            let lines = self.process.stdout().all();
            let fresh = &lines[self.seen..];
            if fresh.iter().any(|line| line.contains(what)) {
                let fresh = fresh.join("\n");
                self.seen = lines.len();
                return Ok(fresh);
            }
            ensure!(since.elapsed() < limit, "{what:?} did not come: {fresh:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Whether something comes within a few seconds that was not looked at.
    fn hears_soon(&mut self, what: &str) -> bool {
        self.within(what, SOON).is_ok()
    }
}

fn call(scene: &Scene, tool: &str, arguments: Value) -> Result<()> {
    let params = json!({"name": tool, "arguments": arguments});
    let answer = Client::send(scene, 9, "tools/call", Some(tool), params)?.until("\"id\":9")?;
    ensure!(answer.contains("\"result\""), "{answer}");
    Ok(())
}

/// Listens twice: to both resources, and to the second alone. `touch` has the server say that both changed.
fn hear(scene: &Scene, uris: [&str; 2], touch: impl Fn(&Scene) -> Result<()>) -> Result<[Client; 2]> {
    let listen = |id, uris: &[&str]| {
        let params = json!({"notifications": {"resourceSubscriptions": uris}});
        let mut client = Client::send(scene, id, "subscriptions/listen", None, params)?;
        let acknowledged = client.until("subscriptions/acknowledged")?;
        for uri in uris {
            ensure!(acknowledged.contains(uri), "{uri}: {acknowledged}");
        }
        anyhow::Ok(client)
    };
    let mut both = listen(1, &uris).context("the first listener")?;
    let mut second = listen(2, &uris[1..]).context("the second listener")?;
    touch(scene)?;
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
    let notes = ["note://fixed", "note://other"];
    let touch = |scene: &Scene| {
        notes
            .iter()
            .try_for_each(|uri| call(scene, "python_touch", json!({ "uri": uri })))
    };
    let mut python = hear(&scene, notes, touch).context("python")?;
    let document = |name: &str| format!("demo://resource/static/document/{name}.md");
    let (first, second) = (document("architecture"), document("features"));
    let toggle = |scene: &Scene| call(scene, "everything_toggle-subscriber-updates", json!({}));
    let mut everything = hear(&scene, [&first, &second], toggle).context("everything")?;
    // They only listen; the servers forget them.
    for (_, server) in &mut scene.servers {
        server.restart()?;
    }
    let since = Instant::now();
    let scene = &scene;
    let again = |clients: &mut [Client; 2], uri: &str, touch: &dyn Fn(&Scene) -> Result<()>| -> Result<()> {
        // What was said before the restart is no news.
        for client in clients.iter_mut() {
            client.seen = client.process.stdout().count();
        }
        loop {
            ensure!(since.elapsed() < HEARD * 2, "{uri} is not heard again");
            // Until its session is open again, the server has nobody to tell.
            if touch(scene).is_ok() && clients.iter_mut().all(|client| client.hears_soon(uri)) {
                return Ok(());
            }
        }
    };
    again(&mut python, notes[1], &touch).context("python")?;
    again(&mut everything, &second, &toggle).context("everything")
}

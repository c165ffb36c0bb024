//! The proxy on real sockets, on loopback. Only the original destination is given instead of found.

mod annotations;
mod asides;
mod batches;
mod calls;
mod cancellation;
mod connections;
mod denial_status;
mod endings;
mod engines;
mod exchange;
mod expiry;
mod exposure;
mod foreign_answers;
mod gateway;
mod hearing;
mod http2;
mod http_sse;
mod limits;
mod list_changes;
mod listening;
mod live_server;
mod modern_server;
mod names;
mod observed;
mod payloads;
mod personal;
mod pins;
mod progress;
mod promises;
mod questions;
mod records;
mod refusals;
mod reload;
mod resumption;
mod rooms;
mod rules;
mod session_server;
mod sessions;
mod shared_sessions;
mod streams;
mod subscribed;
mod tasks;
mod tls;
mod tokens;
mod unread;
mod upstreams;
mod uris;
mod versions;
mod witnesses;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Parts, Shared, Stop, listener::Accept, room::Room};
use crate::{
    discovery::{Discovery, State},
    engines::Engines,
    identity::{Caller, Process, WorkloadIdentity, jwt::Issuers},
    mcp::seal::{Key, Keys, Sealer},
    pins::Pins,
    policy::{InForce, Plan},
    resources::{Action, Desired, ObjectName, Pattern, Policy, Rule, Server},
    telemetry::{AuditSink, Telemetry, TelemetryOptions},
    upstream::Upstreams,
};

fn name(namespace: &str, name: &str) -> ObjectName {
    ObjectName {
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// One server, `tools/calc`, whose tool `big` is denied.
fn desired(server: SocketAddr) -> Desired {
    let rule = |action, tool: &str| Rule {
        tools: vec![Pattern::new(tool).unwrap()],
        ..Rule::new(action)
    };
    let rules = vec![rule(Action::Allow, "*"), rule(Action::Deny, "big")];
    Desired {
        generation: 1,
        servers: vec![Arc::new(Server::at(name("tools", "calc"), vec![server]))],
        policies: vec![Arc::new(Policy {
            name: name("tools", "restrict"),
            rules,
            ..Policy::default()
        })],
        ..Desired::default()
    }
}

/// A served listener of the workload `agents/pod-1`, whose connections were all meant for one address.
struct Proxied {
    address: SocketAddr,
    plan: Arc<InForce>,
    telemetry: Arc<Telemetry>,
    discovery: Arc<Discovery>,
    shared: Arc<Shared>,
    issuers: Arc<Issuers>,
    tasks: TaskTracker,
    draining: CancellationToken,
    stop: Option<Stop>,
    dir: Arc<tempfile::TempDir>,
}

impl Proxied {
    async fn start(destination: SocketAddr) -> Self {
        Self::start_with(desired(destination), Some(destination)).await
    }

    async fn start_with(desired: Desired, destination: Option<SocketAddr>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let audit = AuditSink::File(dir.path().join("audit.log"));
        let telemetry = Telemetry::new(TelemetryOptions {
            node: "n".to_owned(),
            audit,
            audit_export: None,
            traces: None,
        })
        .unwrap();
        let upstreams = Upstreams::new(tokio::runtime::Handle::current());
        upstreams.put_in_force(&desired.servers);
        let plan = InForce::new(Plan::compile(&desired));
        let pins = Pins::new(dir.path().join("pins"), Arc::clone(&telemetry));
        pins.put_in_force(&desired.servers);
        telemetry.observe_pins(&pins);
        let discovery = Discovery::new(
            Arc::clone(&upstreams),
            tokio::runtime::Handle::current(),
            Arc::clone(&pins),
        );
        let asked = |server: &&Arc<Server>| {
            let compiled = plan.load().server(&server.name).cloned();
            desired.settings.gateway.is_some() || compiled.is_some_and(|server| server.needs_catalogue())
        };
        let asked: Vec<Arc<Server>> = desired.servers.iter().filter(asked).cloned().collect();
        discovery.put_in_force(&asked);
        telemetry.observe_servers(&discovery, &upstreams);
        let issuers = Issuers::new(tokio::runtime::Handle::current());
        issuers.put_in_force(&desired.settings);
        let current = Arc::new(Key::new(&Key::generate().unwrap()).unwrap());
        let shared = Shared::new(Parts {
            plan: Arc::clone(&plan),
            telemetry: Arc::clone(&telemetry),
            upstreams,
            discovery,
            pins,
            tokens: Arc::clone(&issuers) as _,
            engines: {
                let engines = Engines::new(tokio::runtime::Handle::current());
                engines.put_in_force(&desired.settings);
                engines
            },
            sealer: Sealer::new(Keys {
                current,
                previous: None,
            }),
        });
        Self::serve(
            shared,
            Some(("pod-1", "ci")),
            false,
            destination,
            Arc::new(dir),
            issuers,
            Room::of_workload,
        )
        .await
    }

    /// The same proxy, for callers that the kernel does not know.
    async fn unknown(&self, destination: SocketAddr) -> Self {
        self.unknown_with(destination, Room::of_gateway).await
    }

    /// The same proxy, for callers that the kernel does not know, and that have this room.
    async fn unknown_with(&self, destination: SocketAddr, room: impl FnOnce(TaskTracker) -> Room) -> Self {
        self.again(None, false, destination, room).await
    }

    /// The same proxy, for another workload.
    async fn of_another_workload(&self, destination: SocketAddr) -> Self {
        let pod = Some(("pod-2", "ci"));
        self.again(pod, false, destination, Room::of_workload).await
    }

    /// The same proxy, for a workload of another ServiceAccount.
    async fn of_another_account(&self, destination: SocketAddr) -> Self {
        let pod = Some(("pod-3", "cd"));
        self.again(pod, false, destination, Room::of_workload).await
    }

    /// The same proxy, for the same workload if it is only observed.
    async fn observing(&self, destination: SocketAddr) -> Self {
        let pod = Some(("pod-1", "ci"));
        self.again(pod, true, destination, Room::of_workload).await
    }

    /// The same proxy, for these callers.
    async fn again(
        &self,
        pod: Option<(&str, &str)>,
        observed: bool,
        destination: SocketAddr,
        room: impl FnOnce(TaskTracker) -> Room,
    ) -> Self {
        let (shared, dir, issuers) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.dir),
            Arc::clone(&self.issuers),
        );
        Self::serve(shared, pod, observed, Some(destination), dir, issuers, room).await
    }

    async fn serve(
        shared: Arc<Shared>,
        pod: Option<(&str, &str)>,
        observed: bool,
        destination: Option<SocketAddr>,
        dir: Arc<tempfile::TempDir>,
        issuers: Arc<Issuers>,
        room: impl FnOnce(TaskTracker) -> Room,
    ) -> Self {
        let listeners: Arc<[TcpListener]> = [TcpListener::bind("127.0.0.1:0").await.unwrap()].into();
        let address = listeners[0].local_addr().unwrap();
        let identity = pod.map(|(pod, account)| Arc::new(WorkloadIdentity::new(name("agents", pod), account.into())));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let accept = Accept {
            listeners: Arc::clone(&listeners),
            workload: identity.clone(),
            origin: move |stream: &TcpStream| {
                Ok(Caller {
                    workload: identity.clone(),
                    destination: destination.ok_or("no_entry")?,
                    client: stream.peer_addr().ok(),
                    process: Some(Process {
                        pid: 1,
                        executable: None,
                        container: None,
                        command: "test".to_owned(),
                    }),
                    token: None,
                    observed,
                })
            },
            room: room(tasks.clone()),
            shared: Arc::clone(&shared),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        tasks.spawn(accept.run());
        let stop = Some(Stop {
            listeners,
            _connections: stop.drop_guard(),
        });
        Self {
            address,
            plan: Arc::clone(&shared.plan),
            telemetry: Arc::clone(&shared.telemetry),
            discovery: Arc::clone(&shared.discovery),
            draining: shared.draining.clone(),
            shared,
            issuers,
            tasks,
            stop,
            dir,
        }
    }

    /// Waits until what this many servers offer is known.
    async fn knows(&self, servers: usize) {
        let ready = |state: &&State| **state == State::Ready;
        for _ in 0..500 {
            if self.discovery.states().values().filter(ready).count() == servers {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not all servers are known: {:?}", self.discovery.states());
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a connection of its own and reads until the proxy ends it.
    async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_ref()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Calls a tool with request id `"r1"`.
    async fn call(&self, tool: &str) -> Answer {
        Answer::of(&self.exchange(post("", &call(tool))).await)
    }

    /// Ends the service and returns the audit lines.
    async fn finish(mut self) -> Vec<Value> {
        self.stop.take();
        self.tasks.close();
        self.tasks.wait().await;
        assert!(self.telemetry.shutdown());
        let text = std::fs::read_to_string(self.dir.path().join("audit.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn call(tool: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":"r1","method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#)
}

/// A POST to `/mcp` after which the connection closes; `headers` are lines that end with CR LF.
fn post(headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: calc.tools.svc\r\nContent-Type: application/json\r\nConnection: close\r\n\
         {headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// A POST of a modern request with id `"m1"`; `headers` are lines that end with CR LF.
fn post_modern(headers: &str, method: &str, mut params: Value) -> String {
    let subject = params["name"].as_str().map(|name| format!("Mcp-Name: {name}\r\n"));
    let meta = &mut params["_meta"];
    meta["io.modelcontextprotocol/protocolVersion"] = "2026-07-28".into();
    meta["io.modelcontextprotocol/clientCapabilities"] = serde_json::json!({});
    let body = serde_json::json!({"jsonrpc": "2.0", "id": "m1", "method": method, "params": params}).to_string();
    let headers = format!(
        "{headers}MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n{}",
        subject.unwrap_or_default()
    );
    post(&headers, &body)
}

/// A POST after which the connection stays open.
fn post_and_stay(body: &str) -> String {
    post("", body).replace("Connection: close\r\n", "")
}

/// A parsed answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Answer {
    fn of(text: &str) -> Self {
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no HTTP answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = match head.contains("\r\ntransfer-encoding: chunked") {
            true => whole(body),
            false => body.to_owned(),
        };
        Self {
            status,
            head: head.to_owned(),
            body: serde_json::from_str(&body).unwrap_or_default(),
        }
    }

    /// A header's value; names are in lower case.
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| *known == name).map(|(_, value)| value).next()
    }

    fn code(&self) -> Option<i64> {
        self.body["error"]["code"].as_i64()
    }
}

/// A body that came in chunks.
fn whole(mut chunks: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = chunks.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        whole += &rest[..length];
        chunks = rest[length..].trim_start();
    }
    whole
}

/// Reads until `end` has come.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while !text.contains(end) {
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "ended before {end:?}: {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    text
}

use std::{net::SocketAddr, os::unix::fs::PermissionsExt, time::Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

use super::*;
use crate::{
    datapath::{Explanation, status::DatapathStatus},
    pins::{Approve, Pinned},
    resources::{Desired, SourceText, parse},
    source::SourceStatus,
    telemetry::AuditHealth,
};

const RESOURCES: &str = "
apiVersion: mcpgw.dev/v1alpha1
kind: MCPServer
metadata: {name: calculator, namespace: tools}
spec: {backend: {addresses: ['10.0.0.5:8080']}, prefix: calc_, capture: GatewayOnly, exposeTo: {namespaces: [agents]}}
---
apiVersion: mcpgw.dev/v1alpha1
kind: MCPCatalog
metadata: {name: sums, namespace: tools}
spec: {servers: [{name: calculator}]}
---
apiVersion: mcpgw.dev/v1alpha1
kind: ClusterMCPSettings
metadata: {name: default}
spec:
  gateway: {listen: ['10.0.0.1:8080'], allowedOrigins: ['https://console.example']}
  externalBackends: [{namespaces: [tools], addresses: [10.0.0.5/32]}]
  exposure: [{namespaces: [tools], to: [agents]}]
---
apiVersion: mcpgw.dev/v1alpha1
kind: MCPServer
metadata: {name: wanted, namespace: other}
spec: {backend: {addresses: ['10.0.0.5:8080']}, prefix: w_}
---
apiVersion: mcpgw.dev/v1alpha1
kind: MCPPolicy
metadata: {name: all, namespace: tools}
spec: {rules: [{action: Allow}]}
---
apiVersion: mcpgw.dev/v1alpha1
kind: MCPPolicy
metadata: {name: elsewhere, namespace: other}
spec: {rules: [{action: Allow}]}
";

struct Agent {
    admin: Admin,
    metrics_address: SocketAddr,
    datapath: watch::Sender<DatapathStatus>,
    audit: watch::Sender<AuditHealth>,
    client: Client,
    socket: PathBuf,
    dir: tempfile::TempDir,
}

fn agent() -> Agent {
    let dir = tempfile::tempdir().unwrap();
    let socket = socket_path(&dir.path().join("node-1"));
    let desired: Desired = parse(&[SourceText {
        name: "a".into(),
        text: RESOURCES.to_owned(),
    }])
    .unwrap();
    let source = watch::Sender::new(SourceStatus {
        generation: 1,
        ..Default::default()
    });
    let datapath = watch::Sender::new(DatapathStatus::default());
    let audit = watch::Sender::new(AuditHealth::default());
    let state = State {
        node: "node-1".to_owned(),
        started: Instant::now(),
        source: source.subscribe(),
        desired: watch::Sender::new(Arc::new(desired)).subscribe(),
        hosts: watch::Sender::default().subscribe(),
        restart_needed: watch::Sender::new(vec!["spec.sessionKeysFile"]).subscribe(),
        plan_generation: watch::Sender::new(1).subscribe(),
        datapath: datapath.subscribe(),
        offers: Arc::new(|_| vec![]),
        audit: Arc::new({
            let health = audit.subscribe();
            move || health.borrow().clone()
        }),
        issuers: Arc::new(Vec::new),
        engines: Arc::new(Vec::new),
        certificate: Arc::new(|| None),
        reach: Arc::new(|_| crate::upstream::Reach {
            found: vec![],
            problems: vec!["10.0.0.5:8080 could not be reached: left alone for 2 s".to_owned()],
        }),
        traces: Arc::new(|| None),
        pin_counts: Arc::new(Vec::new),
        pins: Arc::new(|about| {
            about
                .into_iter()
                .map(|server| Pinned {
                    server: server.to_string(),
                    pin: "Warn".to_owned(),
                    trouble: None,
                    tools: vec![],
                })
                .collect()
        }),
        approve: Arc::new(|wanted| match &*wanted.server {
            "tools/calculator" => Ok(()),
            other => Err(format!("there is no pinned server {other}")),
        }),
        metrics: Arc::new(|| "mcp_tool_calls_total 1\n".to_owned()),
        explain: Arc::new(|workload, to| match workload {
            "agents/known" => Ok(Explanation {
                workload: workload.to_owned(),
                to,
                verdict: "redirect".to_owned(),
                reason: "governed".to_owned(),
                text: format!("to {to}"),
            }),
            _ => Err(format!("there is no workload {workload}")),
        }),
    };
    let port = MetricsPort::open("127.0.0.1:0".parse().unwrap()).unwrap();
    let metrics_address = port.address;
    let admin = Admin::start(port, &socket, Arc::new(state)).unwrap();
    Agent {
        admin,
        metrics_address,
        datapath,
        audit,
        client: Client::new(&socket),
        socket,
        dir,
    }
}

impl Agent {
    /// Sends `request` over TCP and returns all that comes back.
    async fn send(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.metrics_address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
            .await
    }
}

#[tokio::test]
async fn health_and_metrics_are_served_over_tcp() {
    let agent = agent();
    assert!(agent.get("/healthz").await.starts_with("HTTP/1.1 200 OK"));
    let metrics = agent.get("/metrics").await;
    assert!(metrics.contains("text/plain; version=0.0.4") && metrics.contains("\nmcp_tool_calls_total 1\n"));
    let open = agent
        .send(b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text\r\n\r\n")
        .await;
    assert!(
        open.contains("application/openmetrics-text; version=1.0.0") && open.ends_with("# EOF\n"),
        "{open}"
    );
}

#[tokio::test]
async fn readiness_names_the_component_that_is_not_ready() {
    let agent = agent();
    let before = agent.get("/readyz").await;
    assert!(before.starts_with("HTTP/1.1 503"), "{before}");
    assert!(before.contains("nothing was reconciled yet"), "{before}");
    agent.datapath.send_replace(DatapathStatus {
        generation: 1,
        ..Default::default()
    });
    assert!(agent.get("/readyz").await.starts_with("HTTP/1.1 200 OK"));
    agent.datapath.send_replace(DatapathStatus {
        error: Some("bpffs is gone".to_owned()),
        ..Default::default()
    });
    assert!(agent.get("/readyz").await.contains("bpffs is gone"));
    agent.datapath.send_replace(DatapathStatus {
        generation: 1,
        ..Default::default()
    });
    agent.audit.send_replace(AuditHealth {
        waiting: 3,
        lost: 2,
        error: Some("No space left on device".to_owned()),
    });
    let full = agent.get("/readyz").await;
    let told = "cannot be written to: No space left on device; 3 lines wait; 2 lines were lost";
    assert!(full.starts_with("HTTP/1.1 503") && full.contains(told), "{full}");
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let agent = agent();
    for path in ["/", "/status", "/explain", "/metrics/"] {
        assert!(agent.get(path).await.starts_with("HTTP/1.1 404"), "{path}");
    }
    let post = agent
        .send(b"POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert!(
        post.starts_with("HTTP/1.1 405") && post.contains("allow: GET"),
        "{post}"
    );
}

#[tokio::test]
async fn a_head_over_the_bound_is_refused() {
    let agent = agent();
    let answer = agent
        .send(format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(16 * 1024)).as_bytes())
        .await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test]
async fn the_cli_gets_the_whole_state_over_the_socket() {
    let agent = agent();
    let status = agent.client.status().await.unwrap();
    assert_eq!((status.node.as_str(), status.pid), ("node-1", std::process::id()));
    let expected = ServerStatus {
        name: "tools/calculator".to_owned(),
        addresses: vec!["10.0.0.5:8080".to_owned()],
        found: vec![],
        problems: vec!["10.0.0.5:8080 could not be reached: left alone for 2 s".to_owned()],
        path: "/mcp".to_owned(),
        transport: "StreamableHTTP".to_owned(),
        prefix: "calc_".to_owned(),
        capture: "GatewayOnly".to_owned(),
        programmed: "Full".to_owned(),
        exposed_to: vec!["agents".to_owned()],
        policies: vec!["tools/all".to_owned()],
    };
    let [refused, served] = &*status.servers else {
        panic!("{:?}", status.servers)
    };
    assert_eq!(*served, expected);
    assert_eq!((&*refused.name, &*refused.programmed), ("other/wanted", "NotGranted"));
    let [problem] = &*refused.problems else {
        panic!("{refused:?}")
    };
    assert!(problem.starts_with("NotGranted: externalBackends of ClusterMCPSettings does not grant 10.0.0.5"));
    let catalog = CatalogStatus {
        name: "tools/sums".to_owned(),
        path: "/mcp/sums".to_owned(),
        servers: vec!["tools/calculator".to_owned()],
    };
    assert_eq!(status.catalogs, [catalog]);
    let gateway = GatewayStatus {
        listen: vec!["10.0.0.1:8080".to_owned()],
        tls: false,
        certificate_error: None,
        authentication: "Attested".to_owned(),
        allowed_origins: vec!["https://console.example".to_owned()],
    };
    assert_eq!(status.gateway, Some(gateway));
    assert_eq!(status.restart_needed, ["spec.sessionKeysFile"]);
    assert!(!status.components["datapath"].ready && status.components["plan"].ready);
    assert_eq!(status.components["audit"], Component::new(true, "is written"));
}

#[tokio::test]
async fn the_cli_can_ask_for_an_explanation() {
    let agent = agent();
    let to = "[fd00::5]:80".parse().unwrap();
    assert_eq!(
        agent.client.explain("agents/known", to).await.unwrap().text,
        "to [fd00::5]:80"
    );
    let error = agent.client.explain("agents/other", to).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused(reason) if reason == "there is no workload agents/other"),
        "{error}"
    );
}

#[tokio::test]
async fn the_socket_is_for_its_owner_alone_and_goes_with_the_agent() {
    let agent = agent();
    let mode = std::fs::metadata(&agent.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (socket, client, _dir) = (agent.socket, agent.client, agent.dir);
    drop(agent.admin);
    assert!(!socket.exists());
    assert!(matches!(client.status().await, Err(ClientError::NoAgent(_))));
}

#[tokio::test]
async fn what_a_dead_agent_left_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = socket_path(&dir.path().join("node-1"));
    let (first, file) = listen::unix(&path).unwrap();
    drop(first);
    std::mem::forget(file);
    assert!(matches!(
        Client::new(&path).status().await,
        Err(ClientError::NoAgent(_))
    ));
    let (_second, _file) = listen::unix(&path).unwrap();
    assert!(tokio::net::UnixStream::connect(&path).await.is_ok());
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_taken_port_is_named_with_advice() {
    let agent = agent();
    let error = MetricsPort::open(agent.metrics_address).err().unwrap().to_string();
    assert!(
        error.contains(&agent.metrics_address.to_string()) && error.contains("--metrics-address"),
        "{error}"
    );
}

#[tokio::test]
async fn definitions_are_approved_over_the_socket_and_not_over_tcp() {
    let agent = agent();
    let wanted = |server: &str| Approve {
        server: server.to_owned(),
        tools: vec![],
    };
    agent.client.approve(&wanted("tools/calculator")).await.unwrap();
    let refused = agent.client.approve(&wanted("tools/other")).await.unwrap_err();
    assert_eq!(refused.to_string(), "there is no pinned server tools/other");
    assert_eq!(agent.client.pins().await.unwrap(), []);
    let one = agent.client.pins_of("tools/calculator").await.unwrap().unwrap();
    assert_eq!(one.server, "tools/calculator");
    let body = r#"{"server":"tools/calculator","tools":[]}"#;
    let post = format!(
        "POST /pins HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(agent.send(post.as_bytes()).await.starts_with("HTTP/1.1 404"));
    assert!(agent.get("/pins").await.starts_with("HTTP/1.1 404"));
}

//! An MCP server as the rmcp SDK makes it, over bare hyper: safe tools, and a destructive one that counts how
//! often it really ran. `GET /executions` tells the counts, `GET /seen` what tool calls looked like when they came.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use clap::Parser;
use http_body_util::{BodyExt, Either, Full};
use hyper::{HeaderMap, Request, Response, body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use mcpgw_peers::listen;
use rmcp::{
    handler::server::wrapper::Parameters,
    schemars, tool, tool_router,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Parser)]
struct Arguments {
    /// TCP port, on every address of the network namespace.
    #[arg(long)]
    port: u16,
}

type Executions = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// Tool calls that are remembered.
const SEEN: usize = 32;

/// The last tool calls as they came: some of the headers, and the body.
type Seen = Arc<Mutex<VecDeque<Value>>>;

#[derive(Clone, Default)]
struct Tools {
    executions: Executions,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Sum {
    a: i64,
    b: i64,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Echo {
    message: String,
}

#[tool_router(server_handler)]
impl Tools {
    #[tool(description = "Adds two integers", annotations(read_only_hint = true))]
    fn add(&self, Parameters(Sum { a, b }): Parameters<Sum>) -> String {
        self.count("add");
        a.wrapping_add(b).to_string()
    }

    #[tool(description = "Repeats a message", annotations(read_only_hint = true))]
    fn echo(&self, Parameters(Echo { message }): Parameters<Echo>) -> String {
        self.count("echo");
        message
    }

    #[tool(
        description = "The server's time, in seconds since 1970",
        annotations(read_only_hint = true)
    )]
    fn get_time(&self) -> String {
        self.count("get_time");
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
            .to_string()
    }

    #[tool(
        description = "Deletes everything (it only says so)",
        annotations(destructive_hint = true)
    )]
    fn delete_everything(&self) -> String {
        self.count("delete_everything");
        "everything is gone".to_owned()
    }

    fn count(&self, tool: &'static str) {
        *self
            .executions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(tool)
            .or_default() += 1;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let listener = listen(arguments.port)?;
    let tools = Tools::default();
    let executions = tools.executions.clone();
    let mcp = TowerToHyperService::new(StreamableHttpService::new(
        move || Ok(tools.clone()),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default().disable_allowed_hosts(),
    ));
    let seen = Seen::default();
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let (mcp, executions, seen) = (mcp.clone(), executions.clone(), seen.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (mcp, executions, seen) = (mcp.clone(), executions.clone(), seen.clone());
            async move {
                if request.uri().path() == "/seen" {
                    let body = serde_json::to_vec(&*seen.lock().unwrap_or_else(PoisonError::into_inner))?;
                    return Ok(Response::new(Either::Left(Full::new(Bytes::from(body)))));
                }
                if request.uri().path() == "/executions" {
                    let counts = executions.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let body = serde_json::to_vec(&counts)?;
                    return Ok(Response::new(Either::Left(Full::new(Bytes::from(body)))));
                }
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                note(&seen, &head.headers, &body);
                let request = Request::from_parts(head, Full::new(body));
                let answer = hyper::service::Service::call(&mcp, request).await;
                let answer = match answer {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                };
                anyhow::Ok(answer.map(|body| Either::Right(body.boxed())))
            }
        });
        tokio::spawn(async move {
            // A client that goes away is no news.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Remembers a tool call.
fn note(seen: &Seen, headers: &HeaderMap, body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    if !text.contains("tools/call") {
        return;
    }
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.len() == SEEN {
        seen.pop_front();
    }
    seen.push_back(json!({
        "traceparent": header("traceparent"), "tracestate": header("tracestate"), "baggage": header("baggage"),
        "body": text,
    }));
}

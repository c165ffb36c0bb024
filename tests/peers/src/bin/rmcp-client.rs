//! An MCP client as the rmcp SDK makes it. Prints one line of JSON per call: `{"result": …}` or
//! `{"error": {"kind", "message", "code"?, "data"?}}`.

use std::error::Error;

use clap::{Parser, ValueEnum};
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{CallToolRequestParams, ProtocolVersion},
    service::{ClientInitializeError, RunningService, ServiceError},
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpError},
};
use serde_json::{Value, json};

#[derive(Parser)]
struct Arguments {
    /// The server's URL.
    url: String,
    /// A tool and its arguments as a JSON object; may be given several times.
    #[arg(long, num_args = 2, value_names = ["TOOL", "ARGUMENTS"], action = clap::ArgAction::Append)]
    call: Vec<String>,
    /// List the tools.
    #[arg(long)]
    list: bool,
    /// How to open.
    #[arg(long, value_enum, default_value_t = Era::Legacy)]
    era: Era,
}

#[derive(Clone, Copy, ValueEnum)]
enum Era {
    Legacy,
    Modern,
    Auto,
}

#[derive(Clone, Default)]
struct Client;

impl ClientHandler for Client {}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let modern = || vec![ProtocolVersion::V_2026_07_28];
    let lifecycle = match arguments.era {
        Era::Legacy => ClientLifecycleMode::Initialize,
        Era::Modern => ClientLifecycleMode::Discover {
            preferred_versions: modern(),
        },
        Era::Auto => ClientLifecycleMode::Auto {
            preferred_versions: modern(),
            legacy_version: None,
        },
    };
    let transport = StreamableHttpClientTransport::from_uri(arguments.url.as_str());
    let client = match Client.serve_with_lifecycle(transport, lifecycle).await {
        Ok(client) => client,
        Err(error) => {
            println!("{}", json!({"error": {"kind": "connect", "message": reason(&error)}}));
            return Ok(());
        }
    };
    if arguments.list {
        print(client.list_all_tools().await.map(|tools| json!({"tools": tools})));
    }
    for call in arguments.call.chunks_exact(2) {
        let outcome = call_tool(&client, &call[0], &call[1]).await?;
        let lost = matches!(&outcome, Err(error) if !matches!(error, ServiceError::McpError(_)));
        print(outcome);
        if lost {
            break;
        }
    }
    // The session is closed as far as it still can be.
    let _ = client.cancel().await;
    Ok(())
}

async fn call_tool(
    client: &RunningService<RoleClient, Client>,
    tool: &str,
    arguments: &str,
) -> anyhow::Result<Result<Value, ServiceError>> {
    let call = CallToolRequestParams::new(tool.to_owned()).with_arguments(serde_json::from_str(arguments)?);
    Ok(match client.call_tool(call).await {
        Ok(result) => Ok(serde_json::to_value(result)?),
        Err(error) => Err(error),
    })
}

fn print(outcome: Result<Value, ServiceError>) {
    let line = match outcome {
        Ok(result) => json!({"result": result}),
        Err(ServiceError::McpError(error)) => {
            json!({"error": {"kind": "rpc", "code": error.code.0, "message": error.message, "data": error.data}})
        }
        Err(ServiceError::TransportSend(error)) => {
            json!({"error": {"kind": "transport", "message": transport(error.error.as_ref())}})
        }
        Err(error) => json!({"error": {"kind": "transport", "message": chain(&error)}}),
    };
    println!("{line}");
}

/// Why the session did not open.
fn reason(error: &ClientInitializeError) -> String {
    match error {
        ClientInitializeError::TransportError { error, .. } => transport(error.error.as_ref()),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => reason(fallback),
        other => chain(other),
    }
}

/// What the HTTP client says. The SDK's errors do not name it as their source.
fn transport(error: &(dyn Error + Send + Sync + 'static)) -> String {
    match error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(StreamableHttpError::Client(error)) => chain(error),
        _ => chain(error),
    }
}

/// An error and its causes, as a client would log them.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

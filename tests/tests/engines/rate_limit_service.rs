//! A real envoyproxy/ratelimit with a real Redis, on a node.

use std::{fs, net::TcpStream, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::{Node, Process, tools, until};
use tempfile::TempDir;

/// Where the service answers, on every address of the node.
pub const PORT: u16 = 8081;
const REDIS_PORT: u16 = 6379;
/// For either to listen.
const LIMIT: Duration = Duration::from_secs(30);

/// Both, running. Killed on drop.
pub struct RateLimitService {
    #[allow(dead_code, reason = "held while the service is wanted")]
    service: Process,
    redis: Option<Process>,
    node: Node,
    _directory: TempDir,
}

impl RateLimitService {
    /// Starts them, with this as all of the service's configuration.
    pub fn start(node: &Node, configuration: &str) -> Result<Self> {
        Self::start_with(node, configuration, &[])
    }

    /// With this in the service's environment besides.
    pub fn start_with(node: &Node, configuration: &str, environment: &[(&str, &Path)]) -> Result<Self> {
        let program = tools::go_tool("ratelimit")?;
        ensure!(
            program.exists(),
            "{} is missing: run cargo xtask setup",
            program.display()
        );
        let redis = redis(node)?;
        let directory = TempDir::new().context("make the service's directory")?;
        let place = directory.path().join("ratelimit/config");
        fs::create_dir_all(&place).context("make the directory of the service's configuration")?;
        fs::write(place.join("config.yaml"), configuration).context("write the service's configuration")?;
        let mut command = node.command(program)?;
        command
            .env("RUNTIME_ROOT", directory.path())
            .env("RUNTIME_SUBDIRECTORY", "ratelimit")
            .env("USE_STATSD", "false")
            .env("LOG_LEVEL", "info")
            .env("HOST", "127.0.0.1")
            .env("PORT", "18080")
            .env("DEBUG_HOST", "127.0.0.1")
            .env("GRPC_PORT", PORT.to_string())
            .env("REDIS_SOCKET_TYPE", "tcp")
            .env("REDIS_URL", format!("127.0.0.1:{REDIS_PORT}"))
            .env("REDIS_TIMEOUT", "1s")
            .envs(environment.iter().copied());
        let mut service = Process::spawn("ratelimit", command)?;
        if let Err(error) = listens(node, PORT) {
            return Err(error.context(service.epitaph()));
        }
        Ok(Self {
            service,
            redis: Some(redis),
            node: node.clone(),
            _directory: directory,
        })
    }

    /// Ends Redis, and with it all that was counted.
    pub fn stop_redis(&mut self) {
        self.redis = None;
    }

    /// Starts a new Redis.
    pub fn start_redis(&mut self) -> Result<()> {
        self.redis = Some(redis(&self.node)?);
        Ok(())
    }
}

fn redis(node: &Node) -> Result<Process> {
    let mut command = node.command("redis-server")?;
    command
        .args(["--port", &REDIS_PORT.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"]);
    let mut redis = Process::spawn("redis-server", command)?;
    match listens(node, REDIS_PORT) {
        Ok(()) => Ok(redis),
        Err(error) => Err(error.context(redis.epitaph())),
    }
}

fn listens(node: &Node, port: u16) -> Result<()> {
    until(LIMIT, "a server to listen", || {
        node.netns().run(|| TcpStream::connect(("127.0.0.1", port)).is_ok())
    })
}

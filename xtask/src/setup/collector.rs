//! The OpenTelemetry collector, into the cache: built by Go out of the few components that tests need.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use mcpgw_tests::tools;

use crate::{command, versions::Versions};

/// Where Go lies that was installed by hand.
const BY_HAND: &str = "/usr/local/go/bin/go";
/// Older ones cannot fetch the Go that the collector wants.
const LEAST_MINOR: u32 = 21;

/// The Go that is there, if it is new enough.
pub fn go() -> Option<String> {
    let known =
        command::find("go").or_else(|| Some(PathBuf::from(BY_HAND)).filter(|path| command::is_executable(path)));
    let go = known?;
    let told = command::output(Command::new(&go).args(["env", "GOVERSION"])).ok()?;
    let minor = told
        .trim()
        .strip_prefix("go1.")?
        .split('.')
        .next()?
        .parse::<u32>()
        .ok()?;
    (minor >= LEAST_MINOR).then(|| go.display().to_string())
}

/// As [`go`]; says what to do where there is none.
pub fn required_go() -> Result<String> {
    go().with_context(|| {
        format!("no Go of version 1.{LEAST_MINOR} or newer: install one from https://go.dev/dl and put it on PATH")
    })
}

/// Where the collector is.
pub fn check() -> Result<Option<String>> {
    let program = tools::collector()?;
    Ok(command::is_executable(&program).then(|| program.display().to_string()))
}

/// Builds it.
pub fn install(versions: &Versions) -> Result<()> {
    let go = required_go()?;
    let (version, providers) = (&versions.collector.version, &versions.collector.providers);
    ensure!(
        *version == tools::COLLECTOR_VERSION,
        "xtask/versions.toml names another collector than mcpgw_tests::tools"
    );
    let program = tools::collector()?;
    let directory = program.parent().context("a path without a directory")?;
    let build = directory.join("build");
    fs::create_dir_all(&build).with_context(|| format!("make {}", build.display()))?;
    let module = format!("go.opentelemetry.io/collector/cmd/builder@v{version}");
    let built = command::succeeds(Command::new(&go).args(["install", &module]).env("GOBIN", &build))?;
    ensure!(built, "go install {module} failed");
    let manifest = build.join("build.yaml");
    let contrib = "github.com/open-telemetry/opentelemetry-collector-contrib";
    let text = format!(
        "dist: {{name: otelcol, output_path: \"{}\", version: \"{version}\"}}\n\
         receivers: [{{gomod: go.opentelemetry.io/collector/receiver/otlpreceiver v{version}}}]\n\
         exporters: [{{gomod: {contrib}/exporter/fileexporter v{version}}}]\n\
         providers: [{{gomod: go.opentelemetry.io/collector/confmap/provider/fileprovider v{providers}}}]\n\
         conf_resolver: {{default_uri_scheme: file}}\n",
        build.join("out").display()
    );
    fs::write(&manifest, text).with_context(|| format!("write {}", manifest.display()))?;
    let mut builder = Command::new(build.join("builder"));
    builder.arg("--config").arg(&manifest).arg("--skip-strict-versioning");
    if let Some(place) = PathBuf::from(&go).parent() {
        builder.env("PATH", command::path_with(place)?);
    }
    ensure!(command::succeeds(&mut builder)?, "the collector was not built");
    // In one step, so that a set-up that was broken off leaves nothing that looks whole.
    fs::rename(build.join("out/otelcol"), &program).context("put the collector in place")?;
    fs::remove_dir_all(&build).with_context(|| format!("remove {}", build.display()))
}

//! `cargo xtask setup`: what tests and the eBPF build need, checked, and installed where it is missing.

use std::{
    fmt,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::{command, ui, versions::Versions};

pub mod cargo_tools;
mod collector;
mod debian;
mod go_tools;
mod npm;
mod python;
pub mod rust_src;

/// Installs what is missing and nothing else: a second run takes seconds.
///
/// Tools lie in `$MCPGW_TOOLS`, or else in `mcpgw/tools` of the user's cache directory, by version.
/// Nothing of it is needed by `cargo build` or `cargo xtask demo`.
#[derive(Args)]
pub struct Setup {
    /// Only report; exit code 1 if something required is missing.
    #[arg(long)]
    check: bool,
}

/// Installs the proxies that the bench compares with.
pub fn bench_peers() -> Result<()> {
    debian::install_programs(&Versions::load()?, &["nginx", "haproxy"])
}

/// One thing that must be there.
struct Item {
    name: &'static str,
    /// What cannot be done without it.
    without: &'static str,
    /// Whether a test fails without it.
    required: bool,
    /// What is there, if it is.
    check: fn(&Versions) -> Result<Option<String>>,
    install: fn(&Versions) -> Result<()>,
}

const WITHOUT_BPF: &str = "`cargo xtask bpf` cannot build; the lint suite checks the committed object by digest only";

const ITEMS: [Item; 18] = [
    Item {
        name: "C compiler",
        without: "nothing links",
        required: true,
        check: |_| {
            Ok(["cc", "gcc", "clang"]
                .iter()
                .find_map(|name| command::find(name))
                .map(|path| path.display().to_string()))
        },
        install: |_| debian::install("gcc"),
    },
    Item {
        name: "make",
        without: "jemalloc is not built",
        required: true,
        check: |_| Ok(command::find("make").map(|path| path.display().to_string())),
        install: |versions| debian::install_programs(versions, &["make"]),
    },
    Item {
        name: "privileges",
        without: "the suites on real sockets fail",
        required: true,
        check: |_| {
            Ok(mcpgw_tests::privileges::check()
                .is_ok()
                .then(|| "root, cgroup v2, bpffs".to_owned()))
        },
        install: |_| mcpgw_tests::privileges::check(),
    },
    Item {
        name: "cargo-deny",
        without: "the lint suite fails",
        required: true,
        check: |versions| cargo_tools::check(versions, "cargo-deny"),
        install: |versions| cargo_tools::install(versions, "cargo-deny"),
    },
    Item {
        name: "node and npm",
        without: "tests against the npm peers fail",
        required: true,
        check: |_| {
            Ok(command::find("node")
                .zip(command::find("npm"))
                .map(|(node, _)| node.display().to_string()))
        },
        install: |versions| debian::install_programs(versions, &["node", "npm"]),
    },
    Item {
        name: "npm peers",
        without: "tests against the npm peers fail",
        required: true,
        check: |_| npm::check(),
        install: |_| npm::install(),
    },
    Item {
        name: "python3",
        without: "tests against the Python peers fail",
        required: true,
        check: |_| Ok(python::interpreter()),
        install: |_| debian::install("python3-venv"),
    },
    Item {
        name: "Python peers",
        without: "tests against the Python peers fail",
        required: true,
        check: |_| python::check(),
        install: |_| python::install(),
    },
    Item {
        name: "Go",
        without: "the OpenTelemetry collector, the rate limit service and the policy engine cannot be built",
        required: false,
        check: |_| Ok(collector::go()),
        install: |versions| debian::install_programs(versions, &["go"]),
    },
    Item {
        name: "collector",
        without: "tests of traces fail",
        required: true,
        check: |_| collector::check(),
        install: collector::install,
    },
    Item {
        name: "ratelimit",
        without: "tests of limits of the whole cluster fail",
        required: true,
        check: |_| go_tools::check("ratelimit"),
        install: |versions| go_tools::install(versions, "ratelimit"),
    },
    Item {
        name: "OPA",
        without: "tests of policy engines fail",
        required: true,
        check: |_| go_tools::check("opa-envoy-plugin"),
        install: |versions| go_tools::install(versions, "opa-envoy-plugin"),
    },
    Item {
        name: "redis-server",
        without: "tests of limits of the whole cluster fail",
        required: true,
        check: |_| Ok(command::find("redis-server").map(|path| path.display().to_string())),
        install: |versions| debian::install_programs(versions, &["redis-server"]),
    },
    Item {
        name: "curl",
        without: "the test of HTTP/2 by curl fails",
        required: true,
        check: |_| Ok(command::find("curl").map(|path| path.display().to_string())),
        install: |versions| debian::install_programs(versions, &["curl"]),
    },
    Item {
        name: "promtool",
        without: "the test of the metrics fails",
        required: true,
        check: |_| Ok(command::find("promtool").map(|path| path.display().to_string())),
        install: |versions| debian::install_programs(versions, &["promtool"]),
    },
    Item {
        name: "rust-src",
        without: WITHOUT_BPF,
        required: false,
        check: |_| rust_src::check(),
        install: rust_src::install,
    },
    Item {
        name: "bpf-linker",
        without: WITHOUT_BPF,
        required: false,
        check: |versions| cargo_tools::check(versions, "bpf-linker"),
        install: |versions| cargo_tools::install(versions, "bpf-linker"),
    },
    Item {
        name: "bpftool",
        without: WITHOUT_BPF,
        required: false,
        check: |_| Ok(command::find("bpftool").map(|path| path.display().to_string())),
        install: |versions| debian::install_programs(versions, &["bpftool"]),
    },
];

impl Setup {
    /// As `setup` without `--check`.
    pub fn install() -> Self {
        Self { check: false }
    }

    /// Runs it. Exit code 1 if something required is missing in the end.
    pub fn run(&self) -> Result<ExitCode> {
        let versions = Versions::load()?;
        let started = Instant::now();
        println!("{}", ui::bold(if self.check { "What is there" } else { "Setting up" }));
        let mut missing = Vec::new();
        for item in &ITEMS {
            let began = Instant::now();
            let state = self.one(item, &versions);
            let (good, text) = match &state {
                Ok(state) => (true, state.to_string()),
                Err(error) => (false, format!("{error:#}")),
            };
            println!(
                "  {} {:<14} {text} {}",
                ui::mark(good),
                item.name,
                ui::dim(ui::time(began.elapsed()))
            );
            if !good {
                missing.push(item);
            }
        }
        for item in &missing {
            println!("  {} without {}: {}", ui::yellow("!"), item.name, item.without);
        }
        println!("  {}", ui::dim(format!("set-up took {}", ui::time(started.elapsed()))));
        let fatal = missing.iter().any(|item| item.required);
        Ok(if fatal { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn one(&self, item: &Item, versions: &Versions) -> Result<State> {
        if let Some(found) = (item.check)(versions)? {
            return Ok(State::There(found));
        }
        if self.check {
            bail!("missing");
        }
        println!(
            "  {} {:<14} {}",
            ui::dim("…"),
            item.name,
            ui::dim("missing, installing it")
        );
        (item.install)(versions)?;
        let found = (item.check)(versions)?.context("installed, but still not found")?;
        Ok(State::Installed(found))
    }
}

enum State {
    There(String),
    Installed(String),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::There(what) => f.write_str(what),
            Self::Installed(what) => write!(f, "installed: {what}"),
        }
    }
}

/// The version of the rustc in use, for example `1.95.0`.
pub fn rustc_version() -> Result<String> {
    let told = command::output(Command::new("rustc").arg("--version"))?;
    let version = told.split_ascii_whitespace().nth(1).unwrap_or_default();
    ensure!(!version.is_empty(), "rustc --version said {told:?}");
    Ok(version.to_owned())
}

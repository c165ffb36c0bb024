//! The standard library's source of the installed rustc, from which `core` is built for BPF.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use mcpgw_tests::tools;

use super::{debian, rustc_version};
use crate::{command, versions::Versions};

/// For rustup, which may have no way to its server.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);

/// Where it is.
pub fn check() -> Result<Option<String>> {
    let library = place()?.join("library");
    Ok(library
        .join("core/src/lib.rs")
        .exists()
        .then(|| library.display().to_string()))
}

/// Gets it from rustup, or else from a Debian package.
pub fn install(versions: &Versions) -> Result<()> {
    if command::find("rustup").is_some() {
        let mut rustup = Command::new("rustup");
        rustup.args(["component", "add", "rust-src"]);
        if command::within(RUSTUP_LIMIT, &mut rustup).is_ok() && check()?.is_some() {
            return Ok(());
        }
    }
    from_debian(versions)
}

/// Where rustc looks for it.
fn place() -> Result<PathBuf> {
    Ok(Path::new(&command::output(Command::new("rustc").args(["--print", "sysroot"]))?).join("lib/rustlib/src/rust"))
}

/// Unpacks the package into the cache, with package lists of its own: the system's apt is left as it is.
fn from_debian(versions: &Versions) -> Result<()> {
    let version = rustc_version()?;
    let package = versions.rust_src.packages.get(&version).with_context(|| {
        format!("rustup could not add rust-src, and no Debian package is known for rustc {version}")
    })?;
    let directory = tools::directory()?.join(format!("rust-src-{version}"));
    let lists = directory.join("lists");
    fs::create_dir_all(lists.join("partial")).with_context(|| format!("make {}", lists.display()))?;
    let sources = directory.join("sources.list");
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let line = format!(
        "deb [signed-by={keyring}] {} {} main\n",
        debian::mirror()?,
        versions.rust_src.suite
    );
    fs::write(&sources, line).with_context(|| format!("write {}", sources.display()))?;
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.arg(format!("-oDir::Etc::sourcelist={}", sources.display()));
        apt.arg("-oDir::Etc::sourceparts=/dev/null")
            .arg(format!("-oDir::State::lists={}", lists.display()));
        apt.arg("-oAPT::Sandbox::User=root");
        command::output(apt.args(arguments).current_dir(&directory)).map(drop)
    };
    apt(&["update"])?;
    apt(&["download", &format!("rust-src={package}")])?;
    let archive = fs::read_dir(&directory)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no package")?;
    command::output(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&directory))?;
    fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))?;
    let (source, place) = (directory.join(format!("usr/src/rustc-{version}")), place()?);
    fs::create_dir_all(place.parent().unwrap_or(&place))
        .with_context(|| format!("make the parent of {}", place.display()))?;
    symlink(&source, &place).with_context(|| format!("link {} as {}", source.display(), place.display()))
}

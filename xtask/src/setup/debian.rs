//! Packages of a Debian-like distribution, by its own package client.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{command, versions::Versions};

/// Installs the packages of these programs.
pub fn install_programs(versions: &Versions, programs: &[&str]) -> Result<()> {
    for program in programs.iter().filter(|program| command::find(program).is_none()) {
        install(
            versions
                .debian
                .get(*program)
                .with_context(|| format!("no package is known for {program}"))?,
        )?;
    }
    Ok(())
}

/// Installs a package; refreshes the package lists first if it is not in them.
pub fn install(package: &str) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "not root: install the package {package} yourself"
    );
    ensure!(
        command::find("apt-get").is_some(),
        "no apt-get: install {package} by your distribution's means"
    );
    let install = || {
        let mut command = Command::new("apt-get");
        command
            .args(["install", "--yes", "--no-install-recommends", package])
            .env("DEBIAN_FRONTEND", "noninteractive");
        command::output(&mut command)
    };
    if install().is_ok() {
        return Ok(());
    }
    command::output(Command::new("apt-get").arg("update"))?;
    install().map(drop)
}

/// The mirror that this system's own package sources name.
pub fn mirror() -> Result<String> {
    let format = "$(REPO_URI) $(COMPONENT) $(CODENAME)";
    let targets =
        command::output(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))?;
    let found = targets.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (uri, component, suite) = (fields.next()?, fields.next()?, fields.next()?);
        (component == "main" && !suite.contains("security") && !uri.contains("security")).then(|| uri.to_owned())
    });
    match found {
        Some(uri) => Ok(uri),
        None => bail!("the system's package sources name no Debian mirror"),
    }
}

//! demo
use anyhow::Result;
use std::process::ExitCode;
/// d
#[derive(clap::Args)]
pub struct Demo {}
impl Demo {
    pub fn run(&self) -> Result<ExitCode> {
        Ok(ExitCode::SUCCESS)
    }
}

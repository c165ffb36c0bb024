//! What would happen to a connection, by the kernel's maps.

use std::net::SocketAddr;

use super::super::status::block_on;
use crate::{
    admin::{self, Client},
    datapath::NodeOptions,
};

/// Asks the running agent what a workload's dial of `to` would get; the text to print.
pub(super) fn explain(options: &NodeOptions, workload: &str, to: SocketAddr, json: bool) -> anyhow::Result<String> {
    let client = Client::new(&admin::socket_path(&options.state()));
    let explanation = block_on(client.explain(workload, to))??;
    Ok(match json {
        true => serde_json::to_string_pretty(&explanation)? + "\n",
        false => format!(
            "{} ({})\n{}\n",
            explanation.verdict, explanation.reason, explanation.text
        ),
    })
}

//! Whether decisions cost the same with many rules, and limits the same with many budgets, measured by themselves in
//! the agent's own code; and what that comes to for a whole call.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use mcpgw_tests::binary;
use serde::Deserialize;

/// What `mcpgw-bench flat` prints: nanoseconds of CPU time for one call, by how many there are.
#[derive(Deserialize)]
pub struct Flat {
    decide_ns: Vec<(usize, f64)>,
    spend_ns: Vec<(usize, f64)>,
    decide_ratio: f64,
    spend_ratio: f64,
}

impl Flat {
    /// Measures.
    pub fn measure() -> Result<Self> {
        let output = Command::new(binary("mcpgw-bench")?)
            .arg("flat")
            .output()
            .context("run mcpgw-bench")?;
        ensure!(
            output.status.success(),
            "mcpgw-bench flat failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).context("read what mcpgw-bench flat measured")
    }

    /// What a call with the most of both costs, in proportion to one with the least of both, where that costs so much.
    pub fn of_a_call(&self, call_us: f64) -> f64 {
        let more = |costs: &[(usize, f64)]| match (costs.first(), costs.last()) {
            (Some((_, few)), Some((_, many))) => many - few,
            _ => 0.0,
        };
        1.0 + (more(&self.decide_ns) + more(&self.spend_ns)) / (call_us * 1e3)
    }

    /// Prints a table.
    pub fn print(&self, call_us: f64) {
        for (what, of, costs, ratio) in [
            ("decide", "rules", &self.decide_ns, self.decide_ratio),
            ("spend", "budgets", &self.spend_ns, self.spend_ratio),
        ] {
            let sizes: Vec<String> = costs.iter().map(|(size, ns)| format!("{size}: {ns:.0} ns")).collect();
            println!("{what:<7} by {of}: {}  (most/least {ratio:.2})", sizes.join(", "));
        }
        let whole = self.of_a_call(call_us);
        println!("a call of {call_us:.1} µs with the most of both, beside one with the least: {whole:.3}\n");
    }
}

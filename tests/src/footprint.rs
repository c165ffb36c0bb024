//! What a running agent holds.

use std::{collections::BTreeMap, fs, ops::Sub};

use anyhow::{Context, Result};

use crate::Agent;

/// What an agent held at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Memory that is resident, in kB.
    pub kilobytes: i64,
    /// Open descriptors.
    pub descriptors: i64,
    /// Entries of the kernel's maps, by map; those that the kernel can count.
    pub entries: BTreeMap<String, i64>,
}

impl Footprint {
    /// What an agent holds now.
    pub fn of(agent: &Agent) -> Result<Self> {
        let pid = agent.pid();
        let memory = fs::read_to_string(format!("/proc/{pid}/status")).context("read the agent's status")?;
        let resident = memory.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.context("no VmRSS")?.trim().trim_end_matches(" kB").trim();
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).context("list the agent's descriptors")?;
        let status = agent.status()?;
        let maps = status["datapath"]["maps"].as_array().context("no maps")?;
        let entries = maps.iter().filter_map(|map| {
            let name = map["name"].as_str()?.to_owned();
            Some((name, map["entries"].as_i64()?))
        });
        Ok(Self {
            kilobytes: resident.parse().context("VmRSS is no number")?,
            descriptors: descriptors.count().try_into()?,
            entries: entries.collect(),
        })
    }
}

impl Sub for &Footprint {
    type Output = Footprint;

    /// What was added since an earlier moment.
    fn sub(self, earlier: Self) -> Footprint {
        let since = |(name, count): (&String, &i64)| {
            let before = earlier.entries.get(name).copied().unwrap_or_default();
            (name.clone(), count - before)
        };
        Footprint {
            kilobytes: self.kilobytes - earlier.kilobytes,
            descriptors: self.descriptors - earlier.descriptors,
            entries: self.entries.iter().map(since).collect(),
        }
    }
}

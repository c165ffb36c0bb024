//! The agent's lease: while it is renewed, observed workloads are taken to the proxy. When it runs out, because the
//! agent hangs, they dial as if there were none.

use std::{path::Path, time::Duration};

use aya::maps::{Array, MapData};
use mcpgw_common::layout::name;
use nix::time::{ClockId, clock_gettime};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{DatapathError, maps};

/// How long the agent is taken to be alive after it last said so.
const LEASE: Duration = Duration::from_secs(5);
/// How often it says so.
const RENEWAL: Duration = Duration::from_secs(1);

/// The lease, in the kernel.
pub struct Lease(Array<MapData, u64>);

impl Lease {
    /// Takes the lease.
    pub fn take(pins: &Path) -> Result<Self, DatapathError> {
        let mut lease = Self(maps::lease(pins)?);
        lease.renew()?;
        Ok(lease)
    }

    fn renew(&mut self) -> Result<(), DatapathError> {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
        let until = u64::try_from((now + LEASE).as_nanos()).unwrap_or(u64::MAX);
        self.write(until)
    }

    fn write(&mut self, until: u64) -> Result<(), DatapathError> {
        self.0
            .set(0, until, 0)
            .map_err(DatapathError::map("write", name::LEASE))
    }

    /// Renews it until the agent stops, and gives it back then.
    pub async fn keep(mut self, mut stopped: watch::Receiver<bool>) {
        let mut renewal = interval(RENEWAL);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = renewal.tick() => {
                    if let Err(error) = self.renew() {
                        tracing::warn!(%error, "observed workloads dial directly until this works again");
                    }
                }
                _ = stopped.changed() => {
                    let _ = self.write(0);
                    return;
                }
            }
        }
    }
}

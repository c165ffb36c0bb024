//! The loop: reconciles when `Desired` changes, when a cgroup may have come or gone, and at every tick.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use aya_log::EbpfLogger;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::{
    DatapathError, Explanation, NodeOptions, Serve, explain,
    kernel::Kernel,
    lease::Lease,
    maps::Maps,
    node::NodeLock,
    pace::Pace,
    preflight,
    reconcile::Reconciler,
    status::{DatapathStatus, State},
    watch::CgroupWatch,
};
use crate::resources::{Desired, HostAddresses};

/// How long a change on the machine (a cgroup, a process, a namespace) may go unseen: what is there is
/// compared with what is desired this often.
const TICK: Duration = Duration::from_millis(500);

/// A node's datapath at work. Programs and maps outlive it: only [`super::uninstall`] removes them.
pub struct Datapath {
    status: watch::Receiver<DatapathStatus>,
    maps: Maps,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Datapath {
    /// Takes the node's lock, checks the machine, loads the programs and starts the loop. When it returns,
    /// `desired`, whose hosts are at `hosts`, has been applied once.
    ///
    /// # Errors
    ///
    /// Names what is missing, or who holds the lock; nothing is left behind then.
    pub async fn start(
        options: NodeOptions,
        desired: watch::Receiver<Arc<Desired>>,
        hosts: watch::Receiver<Arc<HostAddresses>>,
        serve: Arc<dyn Serve>,
    ) -> Result<Self, DatapathError> {
        preflight::check(&options)?;
        let lock = NodeLock::take(&options.state())?;
        let (first, found) = (desired.borrow().clone(), hosts.borrow().clone());
        let pins = options.pins();
        let logged = options.bpf_log.is_some();
        let (mut reconciler, status) = blocking(move || {
            let mut reconciler = Reconciler::new(&options, serve)?;
            let status = reconciler.reconcile(&first, &found);
            Ok::<_, DatapathError>((reconciler, status))
        })
        .await??;
        if logged {
            forward_log(reconciler.kernel_mut());
        }
        log_changes(&DatapathStatus::default(), &status);
        let (publish, status) = watch::channel(status);
        let (stop, stopped) = watch::channel(false);
        let lease = Lease::take(&pins)?;
        tokio::spawn(lease.keep(stopped.clone()));
        let task = tokio::spawn(async move {
            run(reconciler, desired, hosts, publish, stopped).await;
            drop(lock);
        });
        Ok(Self {
            status,
            maps: Maps::open(&pins)?,
            stop,
            task,
        })
    }

    /// The state after the last reconcile.
    pub fn status(&self) -> watch::Receiver<DatapathStatus> {
        self.status.clone()
    }

    /// What would happen if `workload` (`namespace/name`) dialled `to`.
    ///
    /// # Errors
    ///
    /// When there is no such workload: names those that there are.
    pub fn explain(&self, workload: &str, to: SocketAddr) -> Result<Explanation, String> {
        let status = self.status.borrow();
        match status.workloads.iter().find(|known| known.name == workload) {
            Some(known) => Ok(explain::explain(&self.maps, known, to)),
            None => {
                let known: Vec<_> = status.workloads.iter().map(|w| w.name.as_str()).collect();
                Err(format!("no workload {workload}; there are: {}", known.join(", ")))
            }
        }
    }

    /// Ends the loop and closes the listeners. Programs, links and maps stay in force: governed connects
    /// are refused until an agent runs again.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the datapath ended badly");
        }
    }
}

async fn run(
    mut reconciler: Reconciler,
    mut desired: watch::Receiver<Arc<Desired>>,
    mut hosts: watch::Receiver<Arc<HostAddresses>>,
    publish: watch::Sender<DatapathStatus>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut cgroups = CgroupWatch::new();
    let mut pace = Pace::new();
    loop {
        cgroups.follow(reconciler.cgroups());
        tokio::select! {
            _ = tick.tick() => {}
            () = cgroups.changed() => {}
            changed = desired.changed() => if changed.is_err() { return },
            changed = hosts.changed() => if changed.is_err() { return },
            _ = stopped.changed() => return,
        }
        tokio::select! {
            () = pace.turn() => {}
            _ = stopped.changed() => return,
        }
        let (wanted, found) = (desired.borrow_and_update().clone(), hosts.borrow_and_update().clone());
        let worked = blocking(move || {
            let status = reconciler.reconcile(&wanted, &found);
            (reconciler, status)
        });
        let Ok((back, status)) = worked.await else { return };
        reconciler = back;
        publish.send_if_modified(|last| {
            log_changes(last, &status);
            let changed = *last != status;
            *last = status;
            changed
        });
    }
}

/// Every change of a workload's state is told once.
fn log_changes(last: &DatapathStatus, now: &DatapathStatus) {
    for workload in &now.workloads {
        let before = last
            .workloads
            .iter()
            .find(|w| w.name == workload.name)
            .map(|w| &w.state);
        if before == Some(&workload.state) {
            continue;
        }
        let (workload, state) = (&workload.name, &workload.state);
        match state {
            State::Refused(_) | State::NotGoverned(_) => {
                tracing::warn!(workload, %state, "this workload is NOT governed as asked")
            }
            _ => tracing::info!(workload, %state, "workload"),
        }
    }
    if let Some(error) = now.error.as_ref().filter(|_| now.error != last.error) {
        tracing::error!("{error}");
    }
}

/// Opens files, namespaces and maps: not for the threads that serve.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Result<T, DatapathError> {
    tokio::task::spawn_blocking(f).await.map_err(|_| DatapathError::Stopped)
}

/// Hands the programs' log to this process's.
fn forward_log(kernel: &mut Kernel) {
    let logger = EbpfLogger::init(kernel.ebpf_mut());
    let forwarded = logger.map_err(|e| e.to_string()).and_then(|logger| {
        // SAFETY: the logger owns the ring buffer's descriptor for as long as it is registered.
        unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }.map_err(|e| format!("{e:?}"))
    });
    match forwarded {
        Err(error) => tracing::warn!(error, "the programs' log cannot be read"),
        Ok(mut logger) => {
            tokio::spawn(async move {
                while let Ok(mut ready) = logger.readable_mut().await {
                    ready.get_inner_mut().flush();
                    ready.clear_ready();
                }
            });
        }
    }
}

//! What is asked: the live state of the agent, as channels and closures.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Instant};

use tokio::sync::watch;

use super::status::{Component, Readiness, Status, catalogs, gateway, servers};
use crate::{
    datapath::{Explanation, status::DatapathStatus},
    discovery::Offers,
    engines::EngineStatus,
    identity::jwt::IssuerStatus,
    pins::{Approve, PinCount, Pinned},
    resources::{Desired, HostAddresses, ObjectName, Server},
    source::SourceStatus,
    telemetry::{AuditHealth, TracesHealth},
    upstream::Reach,
};

/// Where the answers come from.
pub struct State {
    /// The node's name.
    pub node: String,
    /// When the agent started.
    pub started: Instant,
    /// The source's state.
    pub source: watch::Receiver<SourceStatus>,
    /// The snapshot in force.
    pub desired: watch::Receiver<Arc<Desired>>,
    /// Where the hosts of servers are, as the kernel knows them.
    pub hosts: watch::Receiver<Arc<HostAddresses>>,
    /// Fields of the settings that have changed and take a restart.
    pub restart_needed: watch::Receiver<Vec<&'static str>>,
    /// Generation of the snapshot that the proxy's plan was compiled from.
    pub plan_generation: watch::Receiver<u64>,
    /// The datapath's state.
    pub datapath: watch::Receiver<DatapathStatus>,
    /// Tells what the servers offer.
    #[allow(clippy::type_complexity, reason = "one closure, used once")]
    pub offers: Arc<dyn Fn(&Desired) -> Vec<Offers> + Send + Sync>,
    /// Tells why the gateway's certificate, as it stands now, cannot be used; `None` if it is in force.
    pub certificate: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    /// Tells how a server can be reached.
    pub reach: Arc<dyn Fn(&Server) -> Reach + Send + Sync>,
    /// Tells how the audit log does.
    pub audit: Arc<dyn Fn() -> AuditHealth + Send + Sync>,
    /// Tells how the export of traces does; `None` where nothing is exported.
    pub traces: Arc<dyn Fn() -> Option<TracesHealth> + Send + Sync>,
    /// Tells what is known of the issuers.
    pub issuers: Arc<dyn Fn() -> Vec<IssuerStatus> + Send + Sync>,
    /// Tells how many tools of pinned servers are what was approved of them.
    pub pin_counts: Arc<dyn Fn() -> Vec<PinCount> + Send + Sync>,
    /// Tells of pinned servers and their tools; of one, with their definitions.
    #[allow(clippy::type_complexity, reason = "one closure, used once")]
    pub pins: Arc<dyn Fn(Option<&ObjectName>) -> Vec<Pinned> + Send + Sync>,
    /// Approves definitions of tools. Blocks.
    #[allow(clippy::type_complexity, reason = "one closure, used once")]
    pub approve: Arc<dyn Fn(&Approve) -> Result<(), String> + Send + Sync>,
    /// Tells how services outside do that are asked about calls.
    pub engines: Arc<dyn Fn() -> Vec<EngineStatus> + Send + Sync>,
    /// Renders the metrics in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Says what would happen to a connect of a workload (`namespace/name`).
    #[allow(clippy::type_complexity, reason = "one closure, used once")]
    pub explain: Arc<dyn Fn(&str, SocketAddr) -> Result<Explanation, String> + Send + Sync>,
}

impl State {
    /// Which components are ready.
    pub fn ready(&self) -> Vec<(String, bool)> {
        let components = self.readiness().components.into_iter();
        components.map(|(name, component)| (name, component.ready)).collect()
    }

    pub(super) fn status(&self) -> Status {
        let desired = self.desired.borrow().clone();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.node.clone(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            source: self.source.borrow().clone(),
            datapath: self.datapath.borrow().clone(),
            gateway: gateway(&desired, (self.certificate)()),
            restart_needed: self.restart_needed.borrow().iter().map(ToString::to_string).collect(),
            servers: servers(&desired, &self.hosts.borrow(), |server| (self.reach)(server)),
            offers: (self.offers)(&desired),
            pins: (self.pin_counts)(),
            catalogs: catalogs(&desired),
            issuers: (self.issuers)(),
            engines: (self.engines)(),
            components: self.readiness().components,
        }
    }

    pub(super) fn readiness(&self) -> Readiness {
        let mut components = BTreeMap::from([
            ("source".to_owned(), self.source_component()),
            ("datapath".to_owned(), self.datapath_component()),
            ("plan".to_owned(), self.plan_component()),
            ("audit".to_owned(), self.audit_component()),
        ]);
        if let Some(health) = (self.traces)() {
            components.insert("traces".to_owned(), traces_component(health));
        }
        Readiness {
            ready: components.values().all(|component| component.ready),
            components,
        }
    }

    /// A bad change doesn't make the agent unready: it does its work, by the last good snapshot.
    fn source_component(&self) -> Component {
        let source = self.source.borrow();
        let in_force = format!("generation {} is in force", source.generation);
        match source.errors.len() {
            0 => Component::new(true, in_force),
            errors => Component::new(
                true,
                format!("{in_force}; {errors} errors in the files as they stand now"),
            ),
        }
    }

    fn datapath_component(&self) -> Component {
        let datapath = self.datapath.borrow();
        match &datapath.error {
            Some(error) => Component::new(false, error),
            None if datapath.generation == 0 => Component::new(false, "nothing was reconciled yet"),
            None => Component::new(true, format!("the kernel matches generation {}", datapath.generation)),
        }
    }

    fn audit_component(&self) -> Component {
        let AuditHealth { waiting, lost, error } = (self.audit)();
        let ready = error.is_none();
        let mut message = match error {
            Some(error) => format!("cannot be written to: {error}; {waiting} lines wait"),
            None => "is written".to_owned(),
        };
        if lost > 0 {
            message.push_str(&format!("; {lost} lines were lost"));
        }
        Component::new(ready, message)
    }

    fn plan_component(&self) -> Component {
        match *self.plan_generation.borrow() {
            0 => Component::new(false, "no plan was compiled yet"),
            generation => Component::new(true, format!("generation {generation} decides calls")),
        }
    }
}

/// A collector that is down doesn't make the agent unready: calls go on without it.
fn traces_component(health: TracesHealth) -> Component {
    let TracesHealth {
        target,
        protocol,
        waiting,
        exported,
        lost,
        error,
    } = health;
    let mut message = match error {
        Some(error) => format!("cannot be exported to {target} by {protocol}: {error}"),
        None => format!("are exported to {target} by {protocol}"),
    };
    message.push_str(&format!("; {exported} spans exported, {waiting} wait, {lost} lost"));
    Component::new(true, message)
}

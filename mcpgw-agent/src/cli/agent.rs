//! The running agent: how its parts are wired, how it stops.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};
use tracing::{info, warn};

use crate::{
    admin::{self, Admin, Client, ListenError, MetricsPort},
    datapath::{
        Datapath, NodeOptions, ServeGuard,
        status::{DatapathStatus, State},
    },
    discovery::Discovery,
    engines::Engines,
    identity::jwt::Issuers,
    keys::KeyRing,
    pins::{self, Pins},
    policy::{InForce, Plan},
    proxy::{self, Proxy},
    resources::{Desired, HostAddresses, NotGranted, Server, Settings},
    source::FileSource,
    telemetry::Telemetry,
    upstream::Upstreams,
};

/// How long calls in flight may take to end when the agent does.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How long connections that were broken off after that may take to be recorded.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// A running agent. It is stopped by [`Agent::stop`]; what is in the kernel outlives it.
pub(super) struct Agent {
    signals: [(&'static str, Signal); 2],
    /// Awaited by nobody, but no end of the agent either: log rotators send it, and the audit log finds out for
    /// itself that its file was renamed.
    _hangup: Signal,
    admin: Admin,
    datapath: Arc<Datapath>,
    proxy: Arc<Proxy>,
    telemetry: Arc<Telemetry>,
    following: [JoinHandle<()>; 2],
    /// The gateway's own listeners.
    listening: Option<ServeGuard>,
}

impl Agent {
    /// Starts everything, in the order that leaves nothing behind when a step fails. Calls are served on
    /// `data`, everything else on the runtime that this is called in.
    pub async fn start(
        options: NodeOptions,
        config: PathBuf,
        initial: Desired,
        metrics: SocketAddr,
        telemetry: Arc<Telemetry>,
        data: &Runtime,
    ) -> anyhow::Result<Self> {
        let started = Instant::now();
        // From here on a signal ends the agent in order, also while it starts.
        let signals = [
            ("SIGTERM", SignalKind::terminate()),
            ("SIGINT", SignalKind::interrupt()),
        ];
        let [terminate, interrupt] = signals.map(|(name, kind)| signal(kind).map(|signal| (name, signal)));
        let signals = [
            terminate.context("cannot await SIGTERM")?,
            interrupt.context("cannot await SIGINT")?,
        ];
        let hangup = signal(SignalKind::hangup()).context("cannot await SIGHUP")?;
        let (node, socket) = (options.node.clone(), admin::socket_path(&options.state()));
        let port = match MetricsPort::open(metrics) {
            Ok(port) => port,
            Err(error) => return Err(why_taken(error, &socket).await),
        };

        tell_not_granted(&[], &initial.not_granted);
        telemetry.set_audit(&initial.settings.audit);
        let plan = InForce::new(Plan::compile(&initial));
        let plan_generation = watch::Sender::new(initial.generation);
        let in_force = watch::Sender::new(Arc::new(initial.clone()));
        let hosts_in_force = watch::Sender::default();
        let restart_needed = watch::Sender::new(Vec::new());
        let upstreams = Upstreams::new(data.handle().clone());
        upstreams.put_in_force(&initial.servers);
        let keys = KeyRing::open(initial.settings.session_keys.as_deref(), &options.state())?;
        let pins = Pins::new(
            pins::directory(initial.settings.pins.as_deref(), &options.state()),
            telemetry.clone(),
        );
        pins.put_in_force(&initial.servers);
        telemetry.observe_pins(&pins);
        let discovery = Discovery::new(upstreams.clone(), data.handle().clone(), pins.clone());
        discovery.put_in_force(&asked(&initial, &plan.load()));
        let issuers = Issuers::new(tokio::runtime::Handle::current());
        issuers.put_in_force(&initial.settings);
        telemetry.observe_issuers(&issuers);
        let engines = Engines::new(data.handle().clone());
        engines.put_in_force(&initial.settings);
        telemetry.observe_engines(&engines);
        telemetry.observe_servers(&discovery, &upstreams);
        let parts = proxy::Parts {
            plan: plan.clone(),
            telemetry: telemetry.clone(),
            upstreams: upstreams.clone(),
            discovery: discovery.clone(),
            pins: pins.clone(),
            tokens: issuers.clone(),
            engines: engines.clone(),
            sealer: keys.sealer(),
        };
        let proxy = Proxy::new(parts, data.handle().clone());
        let listening = match &initial.settings.gateway {
            Some(gateway) => Some(proxy.listen(gateway)?),
            None => None,
        };
        let datapath =
            Arc::new(Datapath::start(options, in_force.subscribe(), hosts_in_force.subscribe(), proxy.clone()).await?);
        telemetry.observe_datapath(datapath.status());

        let running = initial.settings.clone();
        let (desired, source) = FileSource::watch(config, initial);
        let errors = source.clone();
        telemetry.observe_configuration(move || errors.borrow().errors.len() as u64);
        let state = Arc::new(admin::State {
            node: node.clone(),
            started,
            source,
            desired: in_force.subscribe(),
            hosts: hosts_in_force.subscribe(),
            restart_needed: restart_needed.subscribe(),
            plan_generation: plan_generation.subscribe(),
            datapath: datapath.status(),
            offers: Arc::new({
                let discovery = discovery.clone();
                move |desired| discovery.offers(desired)
            }),
            pin_counts: Arc::new({
                let pins = pins.clone();
                move || pins.table().counts()
            }),
            pins: Arc::new({
                let pins = pins.clone();
                move |about| pins.table().status(about)
            }),
            approve: Arc::new({
                let (pins, discovery) = (pins.clone(), discovery.clone());
                move |wanted| {
                    let server = pins.approve(wanted).map_err(|error| error.to_string())?;
                    discovery.tools_changed(&server);
                    Ok(())
                }
            }),
            certificate: Arc::new({
                let proxy = proxy.clone();
                move || proxy.gateway_certificate_error()
            }),
            reach: Arc::new({
                let (upstreams, proxy) = (upstreams.clone(), proxy.clone());
                move |server| {
                    let mut reach = upstreams.reach(server);
                    reach.problems.extend(proxy.certificate_error(server));
                    reach
                }
            }),
            audit: Arc::new({
                let telemetry = telemetry.clone();
                move || telemetry.audit_health()
            }),
            traces: Arc::new({
                let telemetry = telemetry.clone();
                move || telemetry.traces_health()
            }),
            issuers: Arc::new({
                let issuers = issuers.clone();
                move || issuers.status()
            }),
            engines: Arc::new({
                let engines = engines.clone();
                move || engines.status()
            }),
            metrics: Arc::new({
                let telemetry = telemetry.clone();
                move || telemetry.render()
            }),
            explain: Arc::new({
                let datapath = Arc::downgrade(&datapath);
                move |workload, to| match Weak::upgrade(&datapath) {
                    Some(datapath) => datapath.explain(workload, to),
                    None => Err("the agent is stopping".to_owned()),
                }
            }),
        });
        // The state knows the telemetry, and must not be kept by it.
        let looked_at = Arc::downgrade(&state);
        telemetry.observe_readiness(move || looked_at.upgrade().map(|state| state.ready()).unwrap_or_default());
        let address = port.address;
        let admin = match Admin::start(port, &socket, state) {
            Ok(admin) => admin,
            Err(error) => {
                stop_datapath(datapath).await;
                return Err(error.into());
            }
        };
        let publish = Publish {
            running,
            proxy: Arc::clone(&proxy),
            telemetry: telemetry.clone(),
            issuers,
            engines,
            upstreams,
            discovery,
            pins,
            plan,
            plan_generation,
            in_force,
            hosts_in_force,
            restart_needed,
        };
        let following = [tokio::spawn(publish.follow(desired)), tokio::spawn(keys.follow())];
        report_ready(&node, address, &datapath.status().borrow());
        Ok(Self {
            signals,
            _hangup: hangup,
            admin,
            datapath,
            proxy,
            telemetry,
            following,
            listening,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    pub async fn until_told_to_stop(&mut self) {
        let [(terminate, on_terminate), (interrupt, on_interrupt)] = &mut self.signals;
        let name = tokio::select! {
            _ = on_terminate.recv() => terminate,
            _ = on_interrupt.recv() => interrupt,
        };
        info!("{name}: stopping; what is in the kernel stays in force");
    }

    /// Takes no more connections, gives calls in flight a bounded time, and writes out what was recorded.
    pub async fn stop(self) {
        let Self {
            signals: _,
            _hangup,
            admin,
            datapath,
            proxy,
            telemetry,
            following,
            listening,
        } = self;
        following.iter().for_each(JoinHandle::abort);
        proxy.drain(DRAIN_TIME).await;
        drop(listening);
        stop_datapath(datapath).await;
        if timeout(CLOSE_TIME, proxy.closed()).await.is_err() {
            warn!("some connections had not ended within {CLOSE_TIME:?}; their records may be missing");
        }
        // Blocks, for a bounded time: there is nothing left that it could hold up.
        if !telemetry.shutdown() {
            warn!("some audit lines could not be written in time");
        }
        if !telemetry.end_traces() {
            warn!("some spans could not be exported in time");
        }
        // Last, so that an operator can look on.
        drop(admin);
        info!("stopped");
    }
}

/// A taken port is often that of a second agent, and then the port is not what is wrong.
async fn why_taken(error: ListenError, socket: &Path) -> anyhow::Error {
    match Client::new(socket).status().await {
        Ok(other) => anyhow::anyhow!(
            "another mcpgw works on this node: process {} answers on {}; stop it first, or give --node another name",
            other.pid,
            socket.display()
        ),
        Err(_) => error.into(),
    }
}

/// The servers that are asked what they offer: all of them where there is a gateway to offer it at, else those whose
/// calls are decided by it.
fn asked(desired: &Desired, plan: &Plan) -> Vec<Arc<Server>> {
    let needed = |server: &&Arc<Server>| {
        let decided_by_it = plan.server(&server.name).is_some_and(|server| server.needs_catalogue());
        desired.settings.gateway.is_some() || decided_by_it
    };
    desired.servers.iter().filter(needed).cloned().collect()
}

async fn stop_datapath(datapath: Arc<Datapath>) {
    // The admin server has only a weak reference, which it doesn't hold while we run.
    if let Some(datapath) = Arc::into_inner(datapath) {
        datapath.stop().await;
    }
}

/// Where a snapshot goes when it comes into force.
struct Publish {
    /// The settings that the agent started with.
    running: Settings,
    proxy: Arc<Proxy>,
    telemetry: Arc<Telemetry>,
    issuers: Arc<Issuers>,
    engines: Arc<Engines>,
    upstreams: Arc<Upstreams>,
    discovery: Arc<Discovery>,
    pins: Arc<Pins>,
    plan: Arc<InForce>,
    plan_generation: watch::Sender<u64>,
    in_force: watch::Sender<Arc<Desired>>,
    hosts_in_force: watch::Sender<Arc<HostAddresses>>,
    restart_needed: watch::Sender<Vec<&'static str>>,
}

impl Publish {
    /// Puts each snapshot in force, and where its hosts are found.
    async fn follow(self, mut desired: watch::Receiver<Arc<Desired>>) {
        let mut hosts = self.upstreams.hosts();
        // What was found before is news, too.
        hosts.mark_changed();
        loop {
            tokio::select! {
                changed = desired.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let desired = desired.borrow_and_update().clone();
                    self.publish(desired);
                }
                changed = hosts.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let hosts = hosts.borrow_and_update().clone();
                    self.publish_hosts(hosts);
                }
            }
        }
    }

    /// The plan first, as with a snapshot.
    fn publish_hosts(&self, hosts: Arc<HostAddresses>) {
        let plan = self.plan.load().with_hosts(&hosts);
        self.plan.store(Arc::new(plan));
        self.hosts_in_force.send_replace(hosts);
    }

    /// The servers first, then the plan that names them, so that a connection that the kernel hands over is never decided by an older one.
    fn publish(&self, desired: Arc<Desired>) {
        let mut desired = Arc::unwrap_or_clone(desired);
        let kept = desired
            .settings
            .keep_until_restart(&self.running, &self.in_force.borrow().settings);
        if *self.restart_needed.borrow() != kept {
            for field in &kept {
                warn!("{field} of ClusterMCPSettings has changed: restart the agent to bring the new value into force");
            }
            self.restart_needed.send_replace(kept);
        }
        tell_not_granted(&self.in_force.borrow().not_granted, &desired.not_granted);
        let hosts = self.hosts_in_force.borrow().clone();
        // What takes long comes first, so that all the rest is in force at nearly the same time.
        let plan = Plan::compile(&desired).with_hosts(&hosts);
        self.telemetry.set_audit(&desired.settings.audit);
        if let Some(gateway) = &desired.settings.gateway {
            self.proxy.put_tls_in_force(gateway.tls.as_ref());
        }
        self.issuers.put_in_force(&desired.settings);
        self.engines.put_in_force(&desired.settings);
        self.upstreams.put_in_force(&desired.servers);
        self.pins.put_in_force(&desired.servers);
        self.discovery.put_in_force(&asked(&desired, &plan));
        self.plan.store(Arc::new(plan));
        self.plan_generation.send_replace(desired.generation);
        self.in_force.send_replace(Arc::new(desired));
    }
}

/// Logs what is refused to servers and was not before.
fn tell_not_granted(before: &[NotGranted], now: &[NotGranted]) {
    for told in now.iter().filter(|told| !before.contains(told)) {
        warn!(server = %told.server, "{told}");
    }
}

fn report_ready(node: &str, metrics: SocketAddr, datapath: &DatapathStatus) {
    let count = |in_state: fn(&State) -> bool| datapath.workloads.iter().filter(|w| in_state(&w.state)).count();
    info!(
        node,
        %metrics,
        generation = datapath.generation,
        enforced = count(|state| matches!(state, State::Enforced)),
        observed = count(|state| matches!(state, State::Observed)),
        off = count(|state| matches!(state, State::Off)),
        pending = count(|state| matches!(state, State::Pending(_))),
        refused = count(|state| matches!(state, State::Refused(_) | State::NotGoverned(_))),
        "ready: the configuration is in force"
    );
}

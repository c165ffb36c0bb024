//! The plan: `Desired`, compiled for the proxy.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use super::{
    Admission, Ask, Considered, DEFAULT_DENY, Decision, Face, Judgement,
    face::Looks,
    limits::{Limit, Spender},
    rules::RuleSet,
};
use crate::{
    identity::Caller,
    mcp::{
        annotations::Annotations,
        governed::{Governed, Kind},
    },
    resources::{
        self, Action, Asking, Catalog, DenialStatus, Desired, Enforcement, Expose, Gateway, HostAddresses,
        NamespaceLabels, ObjectName, Payloads, Pin, Policy, PolicyAudit, Settings,
    },
};

/// What the proxy goes by. Immutable; a change of `Desired` makes a new one.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Generation of the `Desired` that it was compiled from; 0 for the empty plan.
    pub generation: u64,
    servers: Vec<Arc<Server>>,
    by_address: HashMap<SocketAddr, Vec<Arc<Server>>>,
    by_name: HashMap<ObjectName, Arc<Server>>,
    catalogs: HashMap<Arc<str>, Arc<Catalog>>,
    namespaces: Arc<NamespaceLabels>,
    gateway: Option<Gateway>,
    default_deny: Arc<str>,
    looks: Looks,
    /// Whether a server wants a token in exchange for its caller's.
    pub exchanges_tokens: bool,
    /// The settings in force.
    pub settings: Settings,
}

/// A server with the rules that govern it.
#[derive(Debug)]
pub struct Server {
    /// What was asked for.
    pub wanted: Arc<resources::Server>,
    /// What its callers prove before any rule.
    pub admission: Admission,
    /// `namespace/name`, as expressions see it.
    title: Box<str>,
    enforced: RuleSet,
    /// The rules in force together with those that are only tried; `None` where none are.
    with_trials: Option<RuleSet>,
    limits: Vec<Limit>,
    /// Whether what a token says counts for something here.
    reads_token: bool,
    /// What of calls' arguments the audit log has; `None`: nothing.
    pub payloads: Option<Payloads>,
    /// Which HTTP status its denials get.
    pub denial_status: DenialStatus,
}

impl Plan {
    /// Compiles. Cannot fail: `Desired` is validated.
    pub fn compile(desired: &Desired) -> Self {
        let service = desired.settings.rate_limit_service.as_ref();
        let mode = service.map(|service| service.mode).unwrap_or_default();
        let servers: Vec<Arc<Server>> = desired
            .servers
            .iter()
            .map(|wanted| Arc::new(Server::compile(wanted, desired, mode)))
            .collect();
        let mut looks = Looks::default();
        for rule in servers.iter().flat_map(|server| server.enforced.iter()) {
            looks.add(rule);
        }
        Self {
            generation: desired.generation,
            by_address: by_address(&servers, &HostAddresses::new()),
            by_name: servers
                .iter()
                .map(|server| (server.name().clone(), Arc::clone(server)))
                .collect(),
            servers,
            catalogs: desired
                .catalogs
                .iter()
                .map(|catalog| (Arc::clone(&catalog.name.name), Arc::clone(catalog)))
                .collect(),
            namespaces: Arc::clone(&desired.namespaces),
            gateway: desired.settings.gateway.clone(),
            looks,
            exchanges_tokens: desired.servers.iter().any(|server| server.exchanges_tokens()),
            settings: desired.settings.clone(),
            default_deny: DEFAULT_DENY.into(),
        }
    }

    /// The same plan for servers whose hosts callers may know by these addresses.
    pub fn with_hosts(&self, hosts: &HostAddresses) -> Self {
        Self {
            by_address: by_address(&self.servers, hosts),
            ..self.clone()
        }
    }

    /// The servers that listen at this address, which differ by their paths; an IPv4-mapped address is its IPv4
    /// address. Empty where the address is no server's.
    pub fn at(&self, address: SocketAddr) -> &[Arc<Server>] {
        self.by_address.get(&canonical(address)).map_or(&[], Vec::as_slice)
    }

    /// The server of this name.
    pub fn server(&self, name: &ObjectName) -> Option<&Arc<Server>> {
        self.by_name.get(name)
    }

    /// Every server, ordered by namespace and name.
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// The virtual server at `/mcp/<name>`.
    pub fn catalog(&self, name: &str) -> Option<&Arc<Catalog>> {
        self.catalogs.get(name)
    }

    /// The gateway's listeners, if this address is one of them.
    pub fn gateway_at(&self, address: SocketAddr) -> Option<&Gateway> {
        let is_ours = |listen: &SocketAddr| canonical(*listen) == canonical(address);
        self.gateway
            .as_ref()
            .filter(|gateway| gateway.listen.iter().any(is_ours))
    }

    /// Whether a caller sees a server at the gateway: callers of its namespace do, others where it is exposed to
    /// them. A caller that nobody vouches for is the operator on loopback, who sees all.
    pub fn sees(&self, caller: &Caller, server: &Server) -> bool {
        match caller.account() {
            None if caller.token.is_none() => true,
            None => server.wanted.expose_to == Expose::Everyone,
            Some((namespace, _)) => server.wanted.is_shown_to(namespace, &self.namespaces),
        }
    }

    /// Whether a token that this caller shows at the gateway counts for something at a server that it sees.
    pub fn reads_token(&self, caller: &Caller) -> bool {
        let mut servers = self.servers.iter();
        servers.any(|server| server.reads_token && self.sees(caller, server))
    }

    /// What rules can tell this caller by: callers with the same face see the same.
    pub fn face(&self, caller: &Caller) -> Face {
        self.looks.face(caller)
    }

    /// Decides a request to a server.
    pub fn decide(&self, server: &Server, ask: &Ask<'_>) -> Judgement {
        let mut judgement = server.enforced.decide(ask, &server.title, &self.default_deny);
        if let (Decision::Allow { .. }, Some(all)) = (&judgement.decision, &server.with_trials) {
            let trial = all.decide(ask, &server.title, &self.default_deny);
            judgement.looked_at += trial.looked_at;
            // The rules in force were looked at twice, and failed once.
            for (rule, failure) in trial.failures {
                if !judgement.failures.iter().any(|(known, _)| *known == rule) {
                    judgement.failures.push((rule, failure));
                }
            }
            if let Decision::Deny { rule, .. } = trial.decision {
                judgement.would_deny = Some(rule);
            }
        }
        judgement
    }

    /// Whether a request that names no arguments is allowed. One of a caller that is only observed is.
    pub fn allows(&self, server: &Server, caller: &Caller, governed: Governed<'_>) -> bool {
        let ask = Ask::new(caller, governed, Annotations::default(), None);
        let decides = || server.enforced.decide(&ask, &server.title, &self.default_deny);
        caller.observed || matches!(decides().decision, Decision::Allow { .. })
    }

    /// Decides a connection to a server whose requests cannot be seen: it is allowed where every request of this
    /// caller would be.
    pub fn decide_connection(&self, server: &Server, caller: &Caller) -> Decision {
        server.enforced.decide_unseen(caller, &server.title, &self.default_deny)
    }

    /// Whether a caller could get something of a server, whatever the arguments: so that lists show it. One that is
    /// only observed sees everything. Of a tool, with what the server says of it.
    pub fn shows(&self, server: &Server, caller: &Caller, kind: Kind, name: &str, annotations: Annotations) -> bool {
        let ask = Ask::whether(caller, kind, name, annotations);
        let decides = || server.enforced.decide(&ask, &server.title, &self.default_deny);
        caller.observed || matches!(decides().decision, Decision::Allow { .. })
    }
}

impl Server {
    fn compile(wanted: &Arc<resources::Server>, desired: &Desired, mode: Asking) -> Self {
        let governing = || desired.policies.iter().filter(|policy| policy.governs(wanted));
        let is_enforced = |policy: &&Arc<Policy>| policy.enforcement == Enforcement::Enforce;
        let trusts = wanted.trust_annotations;
        let trials = !governing().all(|policy| is_enforced(&policy));
        let admission = Admission::of(wanted, governing().filter(is_enforced).map(|policy| &**policy));
        let enforced = RuleSet::compile(governing().filter(is_enforced), trusts);
        let limits: Vec<Limit> = governing().flat_map(|policy| limits(policy, mode)).collect();
        let with_trials = trials.then(|| RuleSet::compile(governing(), trusts));
        let all = with_trials.as_ref().unwrap_or(&enforced);
        Self {
            reads_token: admission.reads_token() || all.reads_token() || limits.iter().any(Limit::reads_token),
            admission,
            title: wanted.name.to_string().into(),
            wanted: Arc::clone(wanted),
            enforced,
            with_trials,
            limits,
            payloads: payloads(desired, governing().map(|policy| &policy.audit)),
            denial_status: governing()
                .filter(is_enforced)
                .map(|policy| policy.denial_status)
                .max()
                .unwrap_or_default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &ObjectName {
        &self.wanted.name
    }

    /// Whether rules are in force here: else every request is allowed, and everything shown.
    pub fn is_governed(&self) -> bool {
        !self.enforced.is_empty()
    }

    /// Whether decisions about its tools depend on what it says of them.
    pub fn reads_annotations(&self) -> bool {
        self.all().reads_annotations()
    }

    /// Whether calls of its tools are decided by what it offers, so that it must be asked.
    pub fn needs_catalogue(&self) -> bool {
        self.wanted.pin != Pin::Off || self.reads_annotations()
    }

    /// Whether its lists are cut to what a caller may have.
    pub fn cuts_lists(&self) -> bool {
        self.is_governed() || self.wanted.pin == Pin::Enforce
    }

    /// Whether a rule names this tool outright: then its name is the operator's, not only the caller's.
    pub fn names_tool(&self, tool: &str) -> bool {
        self.all().names_tool(tool)
    }

    /// The limits that count this call, those that are only tried apart from those in force.
    pub fn limits(&self, spender: &Spender<'_>) -> (Vec<&Limit>, Vec<&Limit>) {
        let counting = self.limits.iter().filter(|limit| limit.counts(spender));
        counting.partition(|limit| !limit.dry_run)
    }

    /// Whether limits are in force here.
    pub fn holds_to_limits(&self) -> bool {
        self.limits.iter().any(|limit| !limit.dry_run)
    }

    /// Whether it has limits at all.
    pub fn is_limited(&self) -> bool {
        !self.limits.is_empty()
    }

    /// What each rule that governs it says about a request, in their order, with its action and whether it is in
    /// force.
    pub fn consider(&self, ask: &Ask<'_>) -> Vec<(Arc<str>, Action, Enforcement, Considered)> {
        self.all().consider(ask, &self.title)
    }

    fn all(&self) -> &RuleSet {
        self.with_trials.as_ref().unwrap_or(&self.enforced)
    }
}

/// The servers by their addresses. Those that were given an address come before those whose host DNS finds there:
/// whoever answers for a name must not take what is another's.
fn by_address(servers: &[Arc<Server>], hosts: &HostAddresses) -> HashMap<SocketAddr, Vec<Arc<Server>>> {
    let (given, named): (Vec<_>, Vec<_>) = servers.iter().partition(|server| server.wanted.host().is_none());
    let mut by_address: HashMap<SocketAddr, Vec<Arc<Server>>> = HashMap::new();
    for server in given.into_iter().chain(named) {
        for address in server.wanted.is_at(hosts) {
            let there = by_address.entry(canonical(*address)).or_default();
            there.push(Arc::clone(server));
        }
    }
    by_address
}

/// What settings and policies want of the arguments of calls, together: nothing, unless one asks for them, and then
/// without all that any of them takes out, and no larger than the strictest of those who ask allows.
fn payloads<'p>(desired: &'p Desired, policies: impl Iterator<Item = &'p PolicyAudit> + Clone) -> Option<Payloads> {
    let settings = desired.settings.audit.payloads.iter().map(Arc::as_ref);
    let asking = || {
        settings
            .clone()
            .chain(policies.clone().filter_map(|audit| audit.payloads.as_ref()))
    };
    let max_bytes = asking().map(|payloads| payloads.max_bytes).min()?;
    let named = asking().flat_map(|payloads| &payloads.redact);
    let redact = named.chain(policies.clone().flat_map(|audit| &audit.redact));
    Some(Payloads {
        redact: redact.cloned().collect(),
        max_bytes,
    })
}

fn limits(policy: &Policy, mode: Asking) -> impl Iterator<Item = Limit> {
    let dry_run = policy.enforcement == Enforcement::DryRun;
    let limits = policy.limits.iter().enumerate();
    limits.map(move |(index, wanted)| Limit::compile(policy.limit_title(index, wanted), wanted, dry_run, mode))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

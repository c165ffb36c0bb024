//! The plan: `Desired`, compiled for the proxy.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use super::{admission::Admission, rule::Rule};
use crate::{
    identity::WorkloadIdentity,
    resources::{self, Action, Catalog, Desired, Expose, Gateway, ObjectName, Policy, Settings},
};

/// The rule that denies when policies govern a server and none of their rules permits a call.
pub const DEFAULT_DENY: &str = "default-deny";

/// What the proxy goes by. Immutable; a change of `Desired` makes a new one.
#[derive(Debug, Default)]
pub struct Plan {
    /// Generation of the `Desired` that it was compiled from; 0 for the empty plan.
    pub generation: u64,
    servers: Vec<Arc<Server>>,
    by_address: HashMap<SocketAddr, Vec<Arc<Server>>>,
    by_name: HashMap<ObjectName, Arc<Server>>,
    catalogs: HashMap<Arc<str>, Arc<Catalog>>,
    gateway: Option<Gateway>,
    default_deny: Arc<str>,
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
    rules: Vec<Rule>,
    literals: HashSet<Box<str>>,
}

/// What a call gets, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes to the server.
    Allow {
        /// The first rule that permits it, as `namespace/policy#n` (`n` from 1); `None` where no policy with
        /// rules governs the server.
        rule: Option<Arc<str>>,
    },
    /// Nothing reaches the server.
    Deny {
        /// The first rule that denies it, or [`DEFAULT_DENY`].
        rule: Arc<str>,
    },
}

impl Plan {
    /// Compiles. Cannot fail: `Desired` is validated.
    pub fn compile(desired: &Desired) -> Self {
        let servers: Vec<Arc<Server>> = desired
            .servers
            .iter()
            .map(|wanted| Arc::new(Server::compile(wanted, &desired.policies)))
            .collect();
        let mut by_address: HashMap<SocketAddr, Vec<Arc<Server>>> = HashMap::new();
        for server in &servers {
            for address in server.wanted.addresses() {
                by_address
                    .entry(canonical(*address))
                    .or_default()
                    .push(Arc::clone(server));
            }
        }
        Self {
            generation: desired.generation,
            by_name: servers
                .iter()
                .map(|server| (server.name().clone(), Arc::clone(server)))
                .collect(),
            by_address,
            servers,
            catalogs: desired
                .catalogs
                .iter()
                .map(|catalog| (Arc::clone(&catalog.name.name), Arc::clone(catalog)))
                .collect(),
            gateway: desired.settings.gateway.clone(),
            default_deny: DEFAULT_DENY.into(),
            exchanges_tokens: desired.servers.iter().any(|server| server.exchanges_tokens()),
            settings: desired.settings.clone(),
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
        let is_ours = |listen: &SocketAddr| {
            let any = listen.ip().is_unspecified() && listen.port() == address.port();
            any || canonical(*listen) == canonical(address)
        };
        self.gateway
            .as_ref()
            .filter(|gateway| gateway.listen.iter().any(is_ours))
    }

    /// Whether a caller sees a server at the gateway: callers of its namespace do, others where it is exposed to
    /// them. A caller without a workload is the operator on loopback, who sees all.
    pub fn sees(&self, caller: Option<&WorkloadIdentity>, server: &Server) -> bool {
        let Some(caller) = caller else { return true };
        let namespace = &caller.workload.namespace;
        *namespace == server.name().namespace
            || match &server.wanted.expose_to {
                Expose::Own => false,
                Expose::Everyone => true,
                Expose::Namespaces(list) => list.contains(namespace),
            }
    }

    /// Decides a tool call: any denial denies; where policies with rules govern the server, one permission
    /// is needed; where none does, the call is allowed.
    pub fn decide(&self, caller: Option<&WorkloadIdentity>, server: &Server, tool: &str) -> Decision {
        let mut allowed = None;
        for rule in server.rules.iter().filter(|rule| rule.matches(caller, tool)) {
            match rule.action {
                Action::Deny => {
                    return Decision::Deny {
                        rule: Arc::clone(&rule.name),
                    };
                }
                Action::Allow => allowed = allowed.or(Some(&rule.name)),
            }
        }
        match allowed {
            Some(rule) => Decision::Allow {
                rule: Some(Arc::clone(rule)),
            },
            None if server.rules.is_empty() => Decision::Allow { rule: None },
            None => Decision::Deny {
                rule: Arc::clone(&self.default_deny),
            },
        }
    }
}

impl Server {
    fn compile(wanted: &Arc<resources::Server>, policies: &[Arc<Policy>]) -> Self {
        let governing = || policies.iter().filter(|policy| governs(policy, &wanted.name));
        let rules: Vec<Rule> = governing()
            .flat_map(|policy| (0..policy.rules.len()).map(|index| Rule::compile(policy, index)))
            .collect();
        Self {
            admission: Admission::of(wanted, governing().map(|policy| &**policy)),
            literals: rules.iter().flat_map(Rule::literals).map(Box::from).collect(),
            rules,
            wanted: Arc::clone(wanted),
        }
    }

    /// Its name.
    pub fn name(&self) -> &ObjectName {
        &self.wanted.name
    }

    /// Whether a rule names this tool outright: then its name is the operator's, not only the caller's.
    pub fn names_tool(&self, tool: &str) -> bool {
        self.literals.contains(tool)
    }
}

fn governs(policy: &Policy, server: &ObjectName) -> bool {
    policy.name.namespace == server.namespace && (policy.targets.is_empty() || policy.targets.contains(&server.name))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

//! The plan: `Desired`, compiled for the proxy.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use super::rule::Rule;
use crate::{
    identity::WorkloadIdentity,
    resources::{Action, Desired, ObjectName, Policy},
};

/// The rule that denies when policies govern a server and none of their rules permits a call.
pub const DEFAULT_DENY: &str = "default-deny";

/// What the proxy goes by. Immutable; a change of `Desired` makes a new one.
#[derive(Debug, Default)]
pub struct Plan {
    /// Generation of the `Desired` that it was compiled from; 0 for the empty plan.
    pub generation: u64,
    servers: HashMap<SocketAddr, Arc<Server>>,
    default_deny: Arc<str>,
}

/// A server with the rules that govern it.
#[derive(Debug)]
pub struct Server {
    /// Its name.
    pub name: ObjectName,
    /// Path of its MCP endpoint.
    pub path: Arc<str>,
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
        let mut servers = HashMap::new();
        for wanted in &desired.servers {
            let governing = desired.policies.iter().filter(|policy| governs(policy, &wanted.name));
            let rules: Vec<Rule> = governing
                .flat_map(|policy| (0..policy.rules.len()).map(|index| Rule::compile(policy, index)))
                .collect();
            let literals = rules.iter().flat_map(Rule::literals).map(Box::from).collect();
            let server = Arc::new(Server {
                name: wanted.name.clone(),
                path: Arc::clone(&wanted.path),
                rules,
                literals,
            });
            servers.extend(
                wanted
                    .addresses()
                    .iter()
                    .map(|address| (canonical(*address), Arc::clone(&server))),
            );
        }
        Self {
            generation: desired.generation,
            servers,
            default_deny: DEFAULT_DENY.into(),
        }
    }

    /// The server that listens at this address; an IPv4-mapped address is its IPv4 address.
    pub fn server(&self, address: SocketAddr) -> Option<&Arc<Server>> {
        self.servers.get(&canonical(address))
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

//! Who may do what, as policies say it.

use std::sync::Arc;

use super::{Demand, LabelSelector, Limit, ObjectName, Pattern, PolicyAudit};
use crate::{expression::Expression, mcp::annotations::Hints};

/// What stands before the number of a limit that has no name.
pub(super) const UNNAMED_LIMIT: &str = "limit-";

/// What callers may do at some servers (`MCPPolicy`, `ClusterMCPPolicy`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// Its name. Where the namespace is empty it is the cluster's: it governs servers of all namespaces. Else it
    /// governs servers of its own.
    pub name: ObjectName,
    /// Names of the servers that it governs, in its namespace; empty: the selector says.
    pub targets: Vec<Arc<str>>,
    /// Which servers it governs; with neither this nor targets, all that it can.
    pub selector: Selector,
    /// How callers prove who they are; of several policies the strictest holds.
    pub authentication: Option<Demand>,
    /// How often its servers may be called. All limits of all policies apply.
    pub limits: Vec<Limit>,
    /// Its rules, in the order of the file. A policy with rules turns the default to deny.
    pub rules: Vec<Rule>,
    /// What the audit log has of calls of its servers; of several policies all redactions apply.
    pub audit: PolicyAudit,
    /// Whether its rules are in force.
    pub enforcement: Enforcement,
    /// How its servers' denials are told over HTTP; of several policies in force, one that asks for the HTTP status is
    /// enough.
    pub denial_status: DenialStatus,
}

impl Policy {
    /// Its name as messages and records have it: `namespace/name`, or `name` for one of the cluster.
    pub fn title(&self) -> String {
        match &*self.name.namespace {
            "" => self.name.name.to_string(),
            _ => self.name.to_string(),
        }
    }

    /// What one of its limits is called in records, answers and budgets: `title#name`, or for number `index` (from 0)
    /// without a name `title#limit-1`. A rule is `title#1`.
    pub fn limit_title(&self, index: usize, limit: &Limit) -> String {
        match &limit.name {
            Some(name) => format!("{}#{name}", self.title()),
            None => format!("{}#{UNNAMED_LIMIT}{}", self.title(), index + 1),
        }
    }

    /// Whether it governs this server.
    pub fn governs(&self, server: &super::Server) -> bool {
        let ObjectName { namespace, name } = &server.name;
        let can = self.name.namespace.is_empty() || self.name.namespace == *namespace;
        can && (self.targets.is_empty() || self.targets.contains(name)) && self.selector.selects(server)
    }
}

/// Which servers: all fields that are set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Namespaces; empty: any. Only policies of the cluster have it.
    pub namespaces: Vec<Arc<str>>,
    /// What the server's labels must be.
    pub labels: LabelSelector,
}

impl Selector {
    fn selects(&self, server: &super::Server) -> bool {
        let Self { namespaces, labels } = self;
        let in_namespace = namespaces.is_empty() || namespaces.contains(&server.name.namespace);
        in_namespace && labels.selects(&server.labels)
    }
}

/// Which HTTP status a denied or limited request gets. Its JSON-RPC error is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DenialStatus {
    /// 200: the form that every client shows to its user.
    #[default]
    Ok,
    /// 403, or 429 over a limit.
    Http,
}

/// Whether the rules of a policy are in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// They decide.
    #[default]
    Enforce,
    /// What they would deny is recorded, and goes on.
    DryRun,
}

/// One rule of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What it does. A denial wins over any number of permissions.
    pub action: Action,
    /// Whom it is about; empty: everyone.
    pub from: Vec<Caller>,
    /// Methods by glob; empty: every method that rules govern.
    pub methods: Vec<Pattern>,
    /// Tools by glob. A rule with tools, prompts or resources is about these alone.
    pub tools: Vec<Pattern>,
    /// Prompts by glob.
    pub prompts: Vec<Pattern>,
    /// Resources by glob over their URIs.
    pub resources: Vec<Pattern>,
    /// What tools are taken for. A rule with this is about tools alone.
    pub annotations: Annotated,
    /// What must hold beside; `None`: nothing.
    pub when: Option<Arc<Expression>>,
}

impl Rule {
    /// A rule about everyone and everything.
    pub const fn new(action: Action) -> Self {
        Self {
            action,
            from: Vec::new(),
            methods: Vec::new(),
            tools: Vec::new(),
            prompts: Vec::new(),
            resources: Vec::new(),
            annotations: Annotated::NOTHING,
            when: None,
        }
    }
}

/// What a rule wants tools to be taken for: all that is set. Of a rule that allows it is set to what is harmless, of
/// one that denies to what is not, so that what is not known is never allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Annotated {
    /// Whether it changes nothing.
    pub read_only: Option<bool>,
    /// Whether what it changes may be lost.
    pub destructive: Option<bool>,
    /// Whether calling it once more changes nothing more.
    pub idempotent: Option<bool>,
    /// Whether it reaches beyond what the server knows.
    pub open_world: Option<bool>,
}

impl Annotated {
    /// Whatever it is taken for.
    pub const NOTHING: Self = Self {
        read_only: None,
        destructive: None,
        idempotent: None,
        open_world: None,
    };

    /// Whether nothing is wanted.
    pub fn is_nothing(&self) -> bool {
        *self == Self::NOTHING
    }

    /// Whether a tool that is taken for this is meant.
    pub fn matches(&self, hints: &Hints) -> bool {
        let fits = |wanted: Option<bool>, is: bool| wanted.is_none_or(|wanted| wanted == is);
        fits(self.read_only, hints.read_only)
            && fits(self.destructive, hints.destructive)
            && fits(self.idempotent, hints.idempotent)
            && fits(self.open_world, hints.open_world)
    }

    /// What is wanted, by the names of the schema.
    pub fn wanted(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let all = [
            ("readOnly", self.read_only),
            ("destructive", self.destructive),
            ("idempotent", self.idempotent),
            ("openWorld", self.open_world),
        ];
        all.into_iter().filter_map(|(name, wanted)| Some((name, wanted?)))
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Permits.
    Allow,
    /// Forbids.
    Deny,
}

impl Action {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        }
    }
}

/// Whom a rule is about: all fields that are set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Namespaces of the ServiceAccount; empty: any.
    pub namespaces: Vec<Arc<str>>,
    /// ServiceAccounts, as `namespace/name`; empty: any.
    pub service_accounts: Vec<ObjectName>,
    /// Groups that the token names, by glob: one of them is enough; empty: any.
    pub groups: Vec<Pattern>,
    /// What the token must claim: all of it.
    pub claims: Vec<Claim>,
}

impl Caller {
    /// Whether only a token can tell that somebody is one of these.
    pub fn is_told_by_token(&self) -> bool {
        !self.groups.is_empty() || !self.claims.is_empty()
    }
}

/// What a token must claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The claim's name, and the names of members within it.
    pub path: Vec<Arc<str>>,
    /// What it says, or one of the list that it is, by glob: one of these is enough.
    pub values: Vec<Pattern>,
}

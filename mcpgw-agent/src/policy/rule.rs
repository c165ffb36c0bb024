//! One rule, compiled.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{Arguments, Ask, ask::Facts};
use crate::{
    expression::{Expression, Failure, Fault, Variable},
    identity::Caller,
    mcp::{annotations::Annotations, governed::Kind},
    resources::{self, Action, Annotated, Claim, Enforcement, Pattern},
};

/// A rule with its name.
#[derive(Debug)]
pub(super) struct Rule {
    /// `namespace/policy#n`, or `policy#n` of a policy of the cluster; `n` counts from 1.
    pub(super) name: Arc<str>,
    pub(super) action: Action,
    pub(super) enforcement: Enforcement,
    pub(super) from: Vec<resources::Caller>,
    methods: Vec<Pattern>,
    tools: Vec<Pattern>,
    prompts: Vec<Pattern>,
    resources: Vec<Pattern>,
    pub(super) annotations: Annotated,
    /// Whether it is believed that a tool is as harmless as its annotations say.
    trusts: bool,
    pub(super) when: Option<Arc<Expression>>,
}

/// What a rule says about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Considered {
    /// It is about it.
    Matches,
    /// It is not.
    Other,
    /// That depends on the arguments, which are not known yet.
    Open,
    /// Its condition cannot be evaluated.
    Fails(Failure),
}

impl Rule {
    /// Compiles rule number `index` (from 0) of a policy, for a server whose annotations are trusted or not.
    pub(super) fn compile(policy: &resources::Policy, index: usize, trusts: bool) -> Self {
        let resources::Rule {
            action,
            from,
            methods,
            tools,
            prompts,
            resources,
            annotations,
            when,
        } = &policy.rules[index];
        Self {
            name: format!("{}#{}", policy.title(), index + 1).into(),
            action: *action,
            enforcement: policy.enforcement,
            from: from.clone(),
            methods: methods.clone(),
            // Annotations are about tools alone: then about all of them, where none is named.
            tools: match tools.is_empty() && !annotations.is_nothing() {
                true => vec![Pattern::any()],
                false => tools.clone(),
            },
            prompts: prompts.clone(),
            resources: resources.clone(),
            annotations: *annotations,
            trusts,
            when: when.clone(),
        }
    }

    /// Names of this kind that it is about; `None`: it is about no one kind more than about another.
    pub(super) fn names(&self, kind: Kind) -> Option<&[Pattern]> {
        let lists = [&self.tools, &self.prompts, &self.resources];
        if lists.iter().all(|list| list.is_empty()) {
            return None;
        }
        Some(match kind {
            Kind::Tool => &self.tools,
            Kind::Prompt => &self.prompts,
            Kind::Resource => &self.resources,
            Kind::Task | Kind::Other => &[],
        })
    }

    /// Whether it is about a request to this server.
    pub(super) fn consider(&self, ask: &Ask<'_>, server: &str) -> Considered {
        let named = |patterns: &[Pattern], name: &str| patterns.iter().any(|pattern| pattern.matches(name));
        let about = (self.methods.is_empty() || named(&self.methods, ask.method))
            && self.names(ask.kind).is_none_or(|patterns| named(patterns, ask.name))
            && self.fits(&ask.annotations);
        if !about {
            return Considered::Other;
        }
        let told = self.comes_from(ask.caller);
        if told == Told::No {
            return Considered::Other;
        }
        let matches = || match told {
            Told::Nothing => Considered::Fails(Failure::Missing("token that tells groups and claims".to_owned())),
            _ => Considered::Matches,
        };
        let Some(when) = &self.when else {
            return matches();
        };
        match when.holds(&Facts { ask, server }) {
            Ok(true) => matches(),
            Ok(false) => Considered::Other,
            Err(Fault::Unknown) => Considered::Open,
            Err(Fault::Failed(failure)) => Considered::Fails(failure),
        }
    }

    /// Whether it could be about something that this caller asks for.
    pub(super) fn may_be_about(&self, caller: &Caller, server: &str) -> bool {
        self.comes_from(caller) != Told::No && self.is_so_of(caller, server) != Some(false)
    }

    /// Whether it is about all that this caller can ask for.
    pub(super) fn is_about_all_of(&self, caller: &Caller, server: &str) -> bool {
        self.methods.is_empty()
            && self.names(Kind::Other).is_none()
            && self.comes_from(caller) == Told::Yes
            && self.is_so_of(caller, server) == Some(true)
    }

    /// Whether a denial of it may hold for callers of whom no token tells the groups and claims that it names. A
    /// permission needs to be told.
    pub(super) fn suspects(&self) -> bool {
        self.action == Action::Deny && self.from.iter().any(resources::Caller::is_told_by_token)
    }

    fn comes_from(&self, caller: &Caller) -> Told {
        let told = match self.from.is_empty() {
            true => Told::Yes,
            false => self
                .from
                .iter()
                .map(|from| is_from(from, caller))
                .max()
                .unwrap_or(Told::No),
        };
        match (told, self.action) {
            (Told::Nothing, Action::Allow) => Told::No,
            (told, _) => told,
        }
    }

    /// What its condition says of a caller, whatever is asked; `None` where that depends on what is asked, or it
    /// cannot be evaluated.
    fn is_so_of(&self, caller: &Caller, server: &str) -> Option<bool> {
        let Some(when) = &self.when else { return Some(true) };
        let of_the_request = [
            Variable::HttpMethod,
            Variable::Method,
            Variable::Tool,
            Variable::Prompt,
            Variable::Resource,
            Variable::Arguments,
        ];
        if of_the_request.into_iter().any(|variable| when.reads().has(variable)) {
            return None;
        }
        let ask = Ask {
            caller,
            method: "",
            kind: Kind::Other,
            name: "",
            annotations: Annotations::default(),
            arguments: Arguments::unknown(),
        };
        when.holds(&Facts { ask: &ask, server }).ok()
    }

    /// Whether it is about a tool of which its server says this.
    fn fits(&self, annotations: &Annotations) -> bool {
        self.annotations.is_nothing() || self.annotations.matches(&annotations.believed(self.trusts))
    }

    /// The tools that it names outright.
    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().filter_map(Pattern::literal)
    }
}

/// What is told of a caller, as a rule wants to know it; the greater is the more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// It is another's.
    No,
    /// Nothing: it brought no token, which alone could tell.
    Nothing,
    /// It is the caller that the rule is about.
    Yes,
}

fn is_from(from: &resources::Caller, caller: &Caller) -> Told {
    let resources::Caller {
        namespaces,
        service_accounts,
        groups,
        claims,
    } = from;
    let account = caller.account();
    let in_namespace = namespaces.is_empty() || account.is_some_and(|(namespace, _)| namespaces.contains(namespace));
    let as_account = service_accounts.is_empty()
        || account.is_some_and(|(namespace, name)| {
            service_accounts
                .iter()
                .any(|known| known.namespace == *namespace && known.name == *name)
        });
    if !(in_namespace && as_account) {
        return Told::No;
    }
    if !from.is_told_by_token() {
        return Told::Yes;
    }
    let Some(token) = caller.token.as_deref() else {
        return Told::Nothing;
    };
    let is_one = |group: &Arc<str>| groups.iter().any(|pattern| pattern.matches(group));
    let in_group = groups.is_empty() || token.groups.iter().any(is_one);
    match in_group && claims.iter().all(|claim| claimed(claim, caller)) {
        true => Told::Yes,
        false => Told::No,
    }
}

fn claimed(claim: &Claim, caller: &Caller) -> bool {
    let mut texts = texts(&claim.path, caller);
    texts.any(|text| claim.values.iter().any(|pattern| pattern.matches(text)))
}

/// What a claim says: a string, or several in a list.
pub(super) fn texts<'c>(path: &[Arc<str>], caller: &'c Caller) -> impl Iterator<Item = &'c str> {
    let found = value(path, caller);
    let one = found.and_then(Json::as_str);
    let several = found.and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    one.into_iter().chain(several.iter().filter_map(Json::as_str))
}

/// The value of a claim; `None` where there is none.
pub(super) fn value<'c>(path: &[Arc<str>], caller: &'c Caller) -> Option<&'c Json> {
    let (first, within) = path.split_first()?;
    let claim = caller.token.as_ref()?.claims.get(&**first)?;
    within
        .iter()
        .try_fold(claim, |json, name| json.as_object()?.get(&**name))
}

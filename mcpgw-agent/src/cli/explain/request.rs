//! What would be decided about a request, by the code that decides requests.

use std::{fmt, net::SocketAddr, sync::Arc};

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{super::table::Table, Wanted, besides, nearest};
use crate::{
    identity::{Caller, WorkloadIdentity, jwt},
    mcp::{
        Envelope,
        annotations::Annotations,
        governed::{Governed, Kind},
    },
    policy::{Ask, Because, Considered, Decision, Plan},
    resources::{Desired, Enforcement, Issuer, ObjectName},
};

/// A request that nobody makes.
pub(super) struct Question<'a> {
    pub identity: Option<ObjectName>,
    pub claims: Option<Value>,
    pub server: ObjectName,
    pub wanted: Wanted<'a>,
    /// What the server says of the tool.
    pub annotations: Option<Value>,
    /// JSON; `None`: whatever they are.
    pub arguments: Option<&'a str>,
}

/// What would be decided, and what each rule says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    /// `allow` or `deny`.
    decision: &'static str,
    /// The rule that decides; none where no rules govern the server.
    rule: Option<Arc<str>>,
    /// The rule that would deny, were every policy in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    would_deny: Option<Arc<str>>,
    /// What that means.
    text: String,
    /// What else such a request would meet, a sentence each, unless it is denied already; whether its name is an odd one.
    besides: Vec<String>,
    /// Every rule that governs the server.
    rules: Vec<Said>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    rule: Arc<str>,
    action: &'static str,
    in_force: bool,
    says: String,
}

/// Decides.
pub(super) fn answer(question: &Question<'_>, desired: &Desired) -> anyhow::Result<Answer> {
    let plan = Plan::compile(desired);
    let told = || desired.not_granted.iter().filter(|told| told.server == question.server);
    if desired.refused.iter().any(|server| server.name == question.server) {
        let told: Vec<String> = told().map(ToString::to_string).collect();
        bail!("MCPServer {} is not served: {}", question.server, told.join("; "));
    }
    let server = plan.server(&question.server).with_context(|| {
        let nearest = nearest::servers(&question.server, desired);
        format!(
            "there is no MCPServer {} in the configuration; {nearest}",
            question.server
        )
    })?;
    let caller = caller(question, desired)?;
    let (kind, name) = match question.wanted {
        Wanted::Tool(name) => (Kind::Tool, name),
        Wanted::Prompt(name) => (Kind::Prompt, name),
        Wanted::Resource(uri) => (Kind::Resource, uri),
    };
    let body = match question.arguments {
        None => None,
        Some(arguments) => {
            let arguments: Value = serde_json::from_str(arguments).context("--arguments")?;
            let params = json!({"name": "", "uri": "", "arguments": arguments});
            Some(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string())
        }
    };
    let envelope = body.as_ref().map(|body| Envelope::parse(body.as_bytes())).transpose();
    let envelope = envelope.map_err(|refused| refused.error).context("--arguments")?;
    let annotations = question.annotations.as_ref().map(Annotations::of).unwrap_or_default();
    let ask = match &envelope {
        None => Ask::whether(&caller, kind, name, annotations),
        Some(envelope) => {
            let method = kind.main_method();
            let governed = Governed { method, kind, name };
            Ask::new(&caller, governed, annotations, envelope.params.arguments)
        }
    };
    let judgement = plan.decide(server, &ask);
    let what = format!("{} {name:?} of {}", kind.as_str(), question.server);
    let (decision, rule, mut text) = match judgement.decision {
        Decision::Allow { rule: None } => ("allow", None, format!("{what} is allowed: no rules govern this server")),
        Decision::Allow { rule } if ask_is_open(question) => (
            "allow",
            rule,
            format!("{what} is listed, and allowed with some arguments at least"),
        ),
        Decision::Allow { rule } => ("allow", rule, format!("{what} is allowed")),
        Decision::Deny { rule, because } => {
            let why = match because {
                Because::Hidden => "it is not listed, and answered like what does not exist",
                Because::NotApproved => "its definition is not approved",
                Because::Arguments => "it is listed, but these arguments are refused (code 4030)",
            };
            ("deny", Some(rule), format!("{what} is denied: {why}"))
        }
    };
    if !server.admission.admits(&caller) {
        text += "\nA policy asks for more proof of who calls than this (authentication), at the gateway";
    }
    if !plan.sees(&caller, server) {
        text += "\nAt the gateway this caller does not see the server (exposeTo)";
        text.extend(told().map(|told| format!("\n{told}")));
    }
    if let Some(nearest) = question
        .identity
        .as_ref()
        .and_then(|name| nearest::identities(name, desired))
    {
        text += "\n";
        text += &nearest;
    }
    let said = |(rule, action, enforcement, considered)| {
        let in_force = enforcement == Enforcement::Enforce;
        let action: crate::resources::Action = action;
        Said {
            rule,
            action: action.as_str(),
            in_force,
            says: says(&considered),
        }
    };
    let mut besides = Vec::from_iter(besides::misnamed(server, kind, name));
    if decision == "allow" {
        besides.extend(besides::of(&plan, server, &caller, kind, name, desired));
    }
    Ok(Answer {
        besides,
        decision,
        rule,
        would_deny: judgement.would_deny,
        text,
        rules: server.consider(&ask).into_iter().map(said).collect(),
    })
}

/// Whether the arguments are left open.
fn ask_is_open(question: &Question<'_>) -> bool {
    question.arguments.is_none()
}

fn says(considered: &Considered) -> String {
    match considered {
        Considered::Matches => "matches".to_owned(),
        Considered::Other => "is about something else".to_owned(),
        Considered::Open => "depends on the arguments".to_owned(),
        Considered::Fails(failure) => format!("cannot be evaluated: {failure}"),
    }
}

/// The issuer that claims name; the only one that there is where they name none.
fn issuer<'d>(claims: &Map<String, Value>, desired: &'d Desired) -> anyhow::Result<Option<&'d Issuer>> {
    let issuers = &desired.settings.issuers;
    let Some(name) = claims.get("iss") else {
        return Ok(match &**issuers {
            [only] => Some(only),
            _ => None,
        });
    };
    let found = issuers.iter().find(|issuer| Some(&*issuer.issuer) == name.as_str());
    let found = found.with_context(|| format!("{name} is no issuer of ClusterMCPSettings: its tokens are refused"))?;
    Ok(Some(found))
}

/// The caller: a workload of the configuration, or else a ServiceAccount.
fn caller(question: &Question<'_>, desired: &Desired) -> anyhow::Result<Caller> {
    let workload = question.identity.as_ref().map(|name| {
        let known = desired.workloads.iter().find(|workload| workload.name == *name);
        Arc::new(match known {
            Some(workload) => WorkloadIdentity::new(workload.name.clone(), Arc::clone(&workload.service_account)),
            None => {
                let workload = ObjectName {
                    namespace: Arc::clone(&name.namespace),
                    name: "".into(),
                };
                WorkloadIdentity::new(workload, Arc::clone(&name.name))
            }
        })
    });
    let token = match &question.claims {
        None => None,
        Some(Value::Object(claims)) => Some(Arc::new(jwt::suppose(claims, issuer(claims, desired)?))),
        Some(_) => bail!("--claims must be a JSON object"),
    };
    Ok(Caller {
        workload,
        token,
        // Nothing is decided by it.
        destination: SocketAddr::from(([0, 0, 0, 0], 0)),
        client: None,
        process: None,
        observed: false,
    })
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule.as_deref().unwrap_or("no rule");
        writeln!(f, "{} ({rule})\n{}", self.decision, self.text)?;
        if let Some(rule) = &self.would_deny {
            writeln!(f, "A policy that is only tried would deny it: {rule}")?;
        }
        for besides in &self.besides {
            writeln!(f, "{besides}")?;
        }
        if self.rules.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(&["RULE", "ACTION", "IN FORCE", "SAYS"]);
        for said in &self.rules {
            let in_force = if said.in_force { "yes" } else { "no" };
            table.row([
                said.rule.to_string(),
                said.action.to_owned(),
                in_force.to_owned(),
                said.says.clone(),
            ]);
        }
        write!(f, "\n{table}")
    }
}

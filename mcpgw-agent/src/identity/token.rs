//! What a workload's token says, once it is verified.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::resources::ObjectName;

/// A verified token: what its issuer says about the caller. It holds no part of the token that could be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Who issued it: the configured issuer, character for character.
    pub issuer: Arc<str>,
    /// Whom it is about: `sub`, or the claim that the issuer's settings name.
    pub subject: Arc<str>,
    /// The groups that the issuer puts the subject into.
    pub groups: Vec<Arc<str>>,
    /// Every claim, as it was signed.
    pub claims: Map<String, Value>,
    /// What a Kubernetes ServiceAccount token says of the pod that it was made for.
    pub service_account: Option<ServiceAccount>,
    /// Seconds of Unix time from which on it is refused, the issuer's clock skew included.
    pub ends: u64,
}

/// The `kubernetes.io` claims of a ServiceAccount token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// The ServiceAccount.
    pub name: ObjectName,
    /// The pod that the token is bound to, if it is bound to one.
    pub pod: Option<ObjectName>,
    /// That pod's uid.
    pub pod_uid: Option<Arc<str>>,
}

impl Token {
    /// The principal that budgets and sessions belong to: a ServiceAccount is the same one whoever vouches for it,
    /// the kernel or a token; anybody else is `<issuer>#<subject>`.
    pub fn principal(&self) -> String {
        match &self.service_account {
            Some(account) => super::service_account(&account.name.namespace, &account.name.name),
            None => format!("{}#{}", self.issuer, self.subject),
        }
    }
}

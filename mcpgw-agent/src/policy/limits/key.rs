//! Whose budget a call spends.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};

use serde_json::Value;

use super::limit::Limit;
use crate::{
    identity::Caller,
    resources::{KeyPart, ObjectName},
};

/// A call, as limits see it.
#[derive(Clone, Copy, Debug)]
pub struct Spender<'a> {
    /// Who calls.
    pub caller: &'a Caller,
    /// Which server.
    pub server: &'a ObjectName,
    /// The method: `tools/call`.
    pub method: &'a str,
    /// The tool, by the server's own name; `None` where it is no tool call.
    pub tool: Option<&'a str>,
    /// What stands for the tool in keys: a name that callers may have made up is not it, lest they make up
    /// budgets.
    pub tool_key: &'a str,
}

/// A budget: a digest that nobody outside can aim at, since its keys are drawn at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(u64, u64);

impl Key {
    /// Which of `count` shards it belongs to.
    pub(super) fn shard(self, count: usize) -> usize {
        usize::try_from(self.1 % count as u64).unwrap_or_default()
    }
}

/// Makes keys.
#[derive(Debug, Default)]
pub(super) struct Keys([RandomState; 2]);

impl Keys {
    /// The budget of this call's caller.
    pub(super) fn of(&self, limit: &Limit, spender: &Spender<'_>) -> Key {
        self.digest(|hasher| {
            limit.name.hash(hasher);
            for part in &limit.key {
                hash_part(part, spender, hasher);
            }
        })
    }

    /// The budget that newcomers share where there is no room for one of their own.
    pub(super) fn of_the_rest(&self, limit: &Limit) -> Key {
        self.digest(|hasher| (&limit.name, "the rest").hash(hasher))
    }

    fn digest(&self, write: impl Fn(&mut DefaultHasher)) -> Key {
        let [first, second] = &self.0;
        let digest = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            write(&mut hasher);
            hasher.finish()
        };
        Key(digest(first), digest(second))
    }
}

/// A part that a caller does not have is a value like any other: those without it share one budget, and none goes
/// unlimited.
fn hash_part(part: &KeyPart, spender: &Spender<'_>, hasher: &mut DefaultHasher) {
    let caller = spender.caller;
    match part {
        KeyPart::Identity => hash_principal(caller, hasher),
        KeyPart::Namespace => caller.account().map(|(namespace, _)| namespace).hash(hasher),
        KeyPart::Server => spender.server.hash(hasher),
        KeyPart::Tool => spender.tool_key.hash(hasher),
        KeyPart::Claim(path) => claim(path, caller).map(Value::to_string).hash(hasher),
    }
}

/// What a claim of the caller's token says.
pub(super) fn claim<'c>(path: &[Box<str>], caller: &'c Caller) -> Option<&'c Value> {
    let (first, within) = path.split_first()?;
    let claim = caller.token.as_ref()?.claims.get(&**first)?;
    within.iter().try_fold(claim, |value, name| value.get(&**name))
}

/// As [`Caller::principal`], which is one whoever vouches for it, without making a text of it.
fn hash_principal(caller: &Caller, hasher: &mut DefaultHasher) {
    match (&caller.workload, &caller.token) {
        (Some(workload), _) => {
            (0_u8, &workload.workload.namespace, &workload.service_account).hash(hasher);
        }
        (None, Some(token)) => match &token.service_account {
            Some(account) => (0_u8, &account.name.namespace, &account.name.name).hash(hasher),
            None => (1_u8, &token.issuer, &token.subject).hash(hasher),
        },
        (None, None) => 2_u8.hash(hasher),
    }
}

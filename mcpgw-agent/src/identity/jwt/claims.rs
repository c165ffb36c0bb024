//! What the claims of a token say, once its signature is proven.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    Refusal,
    limits::{MAX_AUDIENCES, MAX_GROUPS, MAX_NAME_BYTES},
};
use crate::{
    identity::{ServiceAccount, Token},
    resources::{self, ObjectName},
};

/// What a token proves, and for how long.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) token: Token,
    pub(super) audiences: Vec<Arc<str>>,
    pub(super) scopes: Vec<Arc<str>>,
}

/// Checks claims against their issuer's settings; `now` in seconds of Unix time. That `iss` is this issuer is known
/// before: its key was taken by it.
pub(super) fn check(claims: Map<String, Value>, issuer: &resources::Issuer, now: u64) -> Result<Checked, Refusal> {
    let skew = issuer.clock_skew.as_secs();
    let ends = time(&claims, "exp")?
        .ok_or(Refusal::NoExpiry)?
        .ceil()
        .saturating_add(skew);
    if now >= ends {
        return Err(Refusal::Expired);
    }
    if time(&claims, "nbf")?.is_some_and(|begins| begins.ceil() > now.saturating_add(skew)) {
        return Err(Refusal::NotYet);
    }
    if time(&claims, "iat")?.is_some_and(|made| made.floor() > now.saturating_add(skew)) {
        return Err(Refusal::IssuedLater);
    }
    let audiences = match claims.get("aud") {
        None => return Err(Refusal::Audience),
        Some(audiences) => texts(audiences, MAX_AUDIENCES).ok_or(Refusal::Claims)?,
    };
    let subject = match find(&claims, &issuer.claims.subject) {
        Some(Value::String(subject)) if is_name(subject) => Arc::from(subject.as_str()),
        Some(Value::String(_)) | None => return Err(Refusal::NoSubject),
        Some(_) => return Err(Refusal::Claims),
    };
    let groups = match find(&claims, &issuer.claims.groups) {
        None => Vec::new(),
        Some(groups) => texts(groups, MAX_GROUPS).ok_or(Refusal::Claims)?,
    };
    let service_account = match issuer.kubernetes {
        true => Some(service_account(&claims).ok_or(Refusal::ServiceAccount)?),
        false => None,
    };
    Ok(Checked {
        scopes: scopes(&claims)?,
        audiences,
        token: Token {
            ends,
            issuer: Arc::clone(&issuer.issuer),
            subject,
            groups,
            claims,
            service_account,
        },
    })
}

/// What a token of this issuer with these claims would say, were it verified: for people who want to know. Proves
/// nothing.
pub fn suppose(claims: &Map<String, Value>, issuer: Option<&resources::Issuer>) -> Token {
    let names = issuer.map(|issuer| issuer.claims.clone()).unwrap_or_default();
    let groups = find(claims, &names.groups).and_then(|groups| texts(groups, MAX_GROUPS));
    let subject = find(claims, &names.subject).and_then(Value::as_str);
    Token {
        ends: u64::MAX,
        issuer: issuer.map_or_else(|| "".into(), |issuer| Arc::clone(&issuer.issuer)),
        subject: subject.unwrap_or_default().into(),
        groups: groups.unwrap_or_default(),
        claims: claims.clone(),
        service_account: issuer
            .filter(|issuer| issuer.kubernetes)
            .and_then(|_| service_account(claims)),
    }
}

/// The issuer that claims name.
pub(super) fn issuer(claims: &Map<String, Value>) -> Result<&str, Refusal> {
    match claims.get("iss") {
        Some(Value::String(issuer)) => Ok(issuer),
        Some(_) => Err(Refusal::Claims),
        None => Err(Refusal::Issuer),
    }
}

/// A time of a claim: seconds, which may have a fraction.
#[derive(Clone, Copy)]
struct Time {
    seconds: u64,
    fraction: bool,
}

impl Time {
    fn floor(self) -> u64 {
        self.seconds
    }

    fn ceil(self) -> u64 {
        self.seconds.saturating_add(u64::from(self.fraction))
    }
}

/// The time that a claim says, if it is there. A text that looks like a number is none.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<Time>, Refusal> {
    let number = match claims.get(name) {
        None => return Ok(None),
        Some(Value::Number(number)) => number,
        Some(_) => return Err(Refusal::Claims),
    };
    if let Some(seconds) = number.as_u64() {
        return Ok(Some(Time {
            seconds,
            fraction: false,
        }));
    }
    // Up to here a double tells seconds apart, and nobody's time is later.
    const LAST: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(seconds) if (0.0..=LAST).contains(&seconds) => Ok(Some(Time {
            seconds: seconds as u64,
            fraction: seconds.fract() > 0.0,
        })),
        _ => Err(Refusal::Claims),
    }
}

/// The claim of this name, or else the one at this path.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(found) = claims.get(name) {
        return Some(found);
    }
    let mut parts = name.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.as_object()?.get(part))
}

/// A string or a list of strings; `None` for anything else.
fn texts(value: &Value, max: usize) -> Option<Vec<Arc<str>>> {
    let text = |value: &Value| match value {
        Value::String(text) if text.len() <= MAX_NAME_BYTES * 2 => Some(Arc::from(text.as_str())),
        _ => None,
    };
    match value {
        Value::Array(list) if list.len() <= max => list.iter().map(text).collect(),
        Value::Array(_) => None,
        one => Some(vec![text(one)?]),
    }
}

/// The scopes of an access token: `scope` with spaces between them (RFC 9068), or the `scp` of other issuers.
fn scopes(claims: &Map<String, Value>) -> Result<Vec<Arc<str>>, Refusal> {
    let split = |text: &str| text.split_ascii_whitespace().map(Arc::from).collect();
    match (claims.get("scope"), claims.get("scp")) {
        (Some(Value::String(scopes)), _) | (None, Some(Value::String(scopes))) => Ok(split(scopes)),
        (Some(list @ Value::Array(_)), _) | (None, Some(list)) => {
            texts(list, super::limits::MAX_GROUPS).ok_or(Refusal::Claims)
        }
        (Some(_), _) => Err(Refusal::Claims),
        (None, None) => Ok(Vec::new()),
    }
}

/// What `kubernetes.io` says, where it and `sub` say the same.
fn service_account(claims: &Map<String, Value>) -> Option<ServiceAccount> {
    let said = claims.get("kubernetes.io")?.as_object()?;
    let namespace = name(said.get("namespace")?)?;
    let account = name(said.get("serviceaccount")?.get("name")?)?;
    let subject = claims.get("sub")?.as_str()?;
    if subject != format!("system:serviceaccount:{namespace}:{account}") {
        return None;
    }
    let (pod, pod_uid) = match said.get("pod") {
        None => (None, None),
        Some(pod) => (
            Some(ObjectName {
                namespace: namespace.into(),
                name: name(pod.get("name")?)?.into(),
            }),
            Some(name(pod.get("uid")?)?.into()),
        ),
    };
    Some(ServiceAccount {
        name: ObjectName {
            namespace: namespace.into(),
            name: account.into(),
        },
        pod,
        pod_uid,
    })
}

/// A name as Kubernetes has them: none has a colon or a slash in it, which would make it another's.
fn name(value: &Value) -> Option<&str> {
    let name = value.as_str()?;
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    ((1..=253).contains(&name.len()) && name.bytes().all(allowed)).then_some(name)
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.contains(char::is_control)
}

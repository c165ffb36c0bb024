//! Who calls: what a request's token adds to what the kernel saw, and whether that is enough.
//!
//! A token that is for us ends here: it never goes on to a server.

use std::{future::pending, sync::Arc};

use http::{HeaderMap, StatusCode, header};

use super::{
    Shared,
    challenge::{self, Error},
    refused::Refused,
};
use crate::{
    identity::{
        Caller,
        jwt::{Place, Refusal, Verified},
    },
    policy::{Lacks, Plan, Server},
    resources::{Authentication, Demand},
    shares::Payer,
    telemetry::Path,
    upstream::Behalf,
};

/// Checks a caller of the gateway at `path`, and adds what its token says.
pub(super) async fn at_gateway(
    shared: &Shared,
    plan: &Plan,
    mode: Authentication,
    caller: &mut Arc<Caller>,
    headers: &HeaderMap,
    path: &str,
) -> Result<(), Refused> {
    // Where the gateway itself asks for no token, one that is shown still counts for servers which do.
    let shown = !mode.reads_token() && headers.contains_key(header::AUTHORIZATION) && plan.reads_token(caller);
    let demand = Demand { mode, issuers: None };
    let checked = check(shared, plan, &demand, shown, caller, headers, Some(path)).await;
    spare_the_observed(shared, caller, Path::Gateway, checked)
}

/// Checks a caller that dialled `server` itself, and adds what its token says.
pub(super) async fn redirected(
    shared: &Shared,
    plan: &Plan,
    server: &Server,
    caller: &mut Arc<Caller>,
    headers: &HeaderMap,
) -> Result<(), Refused> {
    let demand = server.admission.redirected();
    // Where no token counts, what the caller says to its server is between the two.
    if !demand.mode.reads_token() {
        return Ok(());
    }
    let checked = check(shared, plan, demand, false, caller, headers, None).await;
    spare_the_observed(shared, caller, Path::Redirected, checked)
}

/// Whether the `Authorization` of a request to `server` itself is meant for us, and not for the server.
pub(super) fn is_ours(server: &Server, caller: &Caller) -> bool {
    server.admission.redirected().mode.reads_token() && !caller.observed
}

/// What a caller gets that is only observed does not change.
fn spare_the_observed(
    shared: &Shared,
    caller: &Arc<Caller>,
    path: Path,
    checked: Result<(), Refused>,
) -> Result<(), Refused> {
    match checked {
        Err(refused) if caller.observed => {
            shared.telemetry.would_refuse(refused.reason, caller, path);
            Ok(())
        }
        checked => checked,
    }
}

/// `shown`: a token counts, whether the mode asks for one or not.
async fn check(
    shared: &Shared,
    plan: &Plan,
    demand: &Demand,
    shown: bool,
    caller: &mut Arc<Caller>,
    headers: &HeaderMap,
    path: Option<&str>,
) -> Result<(), Refused> {
    let mode = demand.mode;
    if mode.needs_kernel() && caller.workload.is_none() {
        return Err(Refused::not_attested());
    }
    if !mode.reads_token() && !shown {
        return Ok(());
    }
    let refuse = |refusal: Refusal| refusing(plan, path, refusal);
    let Some(token) = bearer(headers)? else {
        let enough = match mode {
            Authentication::Attested | Authentication::None => true,
            Authentication::Any => caller.workload.is_some(),
            Authentication::Token | Authentication::AttestedAndToken => false,
        };
        return if enough { Ok(()) } else { Err(missing(plan, path)) };
    };
    let believed = &plan.settings.issuers;
    let verified = match shared.tokens.known(token, believed) {
        Some(known) => known,
        None => shared.tokens.verify(token, believed, Payer::of_sender(caller)).await,
    };
    let verified: Arc<Verified> = verified.map_err(refuse)?;
    // From here on it is known whose token it is, and the audit log says so, whatever comes of it.
    Arc::make_mut(caller).token = Some(Arc::clone(&verified.token));
    let place = Place {
        public_url: plan.settings.public_url.as_deref(),
        path,
    };
    verified.is_for(&place).map_err(refuse)?;
    if !demand.accepts(&verified.token.issuer) {
        return Err(refuse(Refusal::NotHere));
    }
    if mode == Authentication::AttestedAndToken && caller.brings_a_strangers_token() {
        return Err(refuse(Refusal::Stolen));
    }
    verified.has_scopes().map_err(refuse)
}

/// The token of a request; `None` where there is none. One in the query of a URL is none: URLs are written to logs.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut found = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = found.next() else { return Ok(None) };
    if found.next().is_some() {
        let message = "More than one Authorization header";
        return Err(Refused::new(
            StatusCode::BAD_REQUEST,
            "ambiguous_authorization",
            message,
        ));
    }
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
    });
    Ok(token)
}

/// Waits for the end of a token that counts, by which a stream was opened; for ever, where none did.
pub(super) async fn disproved(shared: &Shared, plan: &Plan, caller: &Caller, headers: &HeaderMap) -> Refusal {
    match (&caller.token, bearer(headers)) {
        // It is proven whose it is, and so who pays.
        (Some(_), Ok(Some(token))) => {
            let believed = &plan.settings.issuers;
            shared.tokens.keep(token, believed, Payer::of(caller)).await
        }
        _ => pending().await,
    }
}

/// On whose behalf a request is made whose token was verified.
pub(super) fn behalf(headers: &HeaderMap) -> Option<Behalf> {
    let token = bearer(headers).ok().flatten()?;
    Some(Behalf::Caller(token.into()))
}

/// The refusal of a caller at `path` of the gateway, because of what it lacks for the server that it asks for.
pub(super) fn lacking(plan: &Plan, path: &str, lacks: Lacks) -> Refused {
    match lacks {
        Lacks::Token => missing(plan, Some(path)),
        Lacks::OwnToken => refusing(plan, Some(path), Refusal::Stolen),
    }
}

/// HTTP 401, without a word of an error: the client may not have known that a token is needed.
fn missing(plan: &Plan, path: Option<&str>) -> Refused {
    let message = "A token is needed here: send it as Authorization: Bearer";
    Refused::new(StatusCode::UNAUTHORIZED, "no_token", message)
        .challenging(challenge::header(plan, path, None))
        .traceable()
}

fn refusing(plan: &Plan, path: Option<&str>, refusal: Refusal) -> Refused {
    let (status, error) = match refusal {
        Refusal::Scope => (StatusCode::FORBIDDEN, Error::InsufficientScope),
        // Another token would not help either.
        outage if outage.is_outage() => {
            let message = format!("Tokens cannot be checked: {refusal}");
            return Refused::new(StatusCode::SERVICE_UNAVAILABLE, refusal.reason(), message).traceable();
        }
        _ => (StatusCode::UNAUTHORIZED, Error::InvalidToken),
    };
    let challenge = challenge::header(plan, path, Some((error, refusal)));
    Refused::new(status, refusal.reason(), refusal.to_string())
        .challenging(challenge)
        .traceable()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_comes_in_one_header_of_one_scheme() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer(&headers)
                .map(|token| token.map(ToOwned::to_owned))
                .map_err(|refused| refused.reason)
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["Bearer a.b.c"]), Ok(Some("a.b.c".to_owned())));
        assert_eq!(of(&["bearer  a.b.c"]), Ok(Some("a.b.c".to_owned())));
        assert_eq!(of(&["Basic a.b.c"]), Ok(None));
        assert_eq!(of(&["Bearer"]), Ok(None));
        assert_eq!(of(&["Bearera a.b.c"]), Ok(None));
        assert_eq!(of(&["Bearer a", "Bearer b"]), Err("ambiguous_authorization"));
    }
}

//! A token that is had again before it ends, once for all who need it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::HeaderValue;
use tokio::{runtime::Handle, sync::watch, time::Instant};

use super::{
    Behalf, CredentialError,
    endpoint::{self, EndpointError, Issued},
    secret,
};
use crate::{resources::TokenEndpoint, upstream::limits::CREDENTIAL_RETRY};

/// A token of an authorization server, kept good. Nothing is asked until it is needed.
pub(super) struct Renewed {
    endpoint: TokenEndpoint,
    behalf: Behalf,
    runtime: Handle,
    state: Mutex<State>,
    /// How often it was asked for.
    asked: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    value: Option<HeaderValue>,
    /// From when on it is had again, while it still is good.
    renew: Option<Instant>,
    ends: Option<Instant>,
    asking: bool,
    failed: Option<(Instant, Arc<str>)>,
}

impl Renewed {
    pub(super) fn new(endpoint: TokenEndpoint, behalf: Behalf, runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            behalf,
            runtime,
            state: Mutex::default(),
            asked: watch::Sender::new(0),
        })
    }

    /// Whether it can be shown now.
    pub(super) fn is_good(&self) -> bool {
        self.state().good(Instant::now()).is_some()
    }

    /// What to show. Waits for the authorization server only where there is no good token; that one answers within
    /// its time limit.
    pub(super) async fn value(self: &Arc<Self>) -> Result<HeaderValue, CredentialError> {
        let mut asked = self.asked.subscribe();
        {
            let mut state = self.state();
            let now = Instant::now();
            let good = state.good(now);
            let lately = state.failed.as_ref().filter(|(when, _)| now < *when + CREDENTIAL_RETRY);
            if let (None, Some((_, error))) = (&good, lately) {
                return Err(CredentialError::Endpoint(Arc::clone(error)));
            }
            let due = good.is_none() || lately.is_none() && state.renew.is_some_and(|renew| now >= renew);
            if due && !state.asking {
                state.asking = true;
                self.runtime.spawn(Arc::clone(self).ask());
            }
            if let Some(good) = good {
                return Ok(good);
            }
        }
        // The one who asks always tells.
        let _ = asked.changed().await;
        let state = self.state();
        match (state.good(Instant::now()), &state.failed) {
            (Some(good), _) => Ok(good),
            (None, Some((_, error))) => Err(CredentialError::Endpoint(Arc::clone(error))),
            (None, None) => Err(CredentialError::Endpoint(EndpointError::Ended.to_string().into())),
        }
    }

    async fn ask(self: Arc<Self>) {
        let asked = Instant::now();
        let issued = endpoint::ask(&self.endpoint, &self.behalf).await;
        let issued = issued.and_then(|issued| {
            let value = secret(&format!("Bearer {}", issued.token)).ok_or(EndpointError::Token)?;
            Ok((issued, value))
        });
        let mut state = self.state();
        state.asking = false;
        match issued {
            Ok((Issued { lives, .. }, value)) => {
                state.failed = None;
                state.value = Some(value);
                state.ends = Some(asked + lives);
                // In time to be had again twice, but at once only where it hardly lives.
                state.renew = Some(asked + lives.saturating_sub((lives / 4).min(Duration::from_secs(60))));
            }
            Err(error) => {
                let url = &self.endpoint.url;
                tracing::warn!(%url, %error, "an authorization server gave no token");
                state.failed = Some((Instant::now(), error.to_string().into()));
            }
        }
        drop(state);
        self.asked.send_modify(|asked| *asked += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn good(&self, now: Instant) -> Option<HeaderValue> {
        let ends = self.ends?;
        self.value.clone().filter(|_| now < ends)
    }
}

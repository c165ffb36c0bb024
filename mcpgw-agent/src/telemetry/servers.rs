//! Instruments that read how well servers are known, and which of their addresses are left alone. An address is no
//! label: a host may have any number of them in its time.

use std::{sync::Arc, time::Duration};

use opentelemetry::{KeyValue, metrics::Meter};

use crate::{
    discovery::{Discovery, State},
    resources::ObjectName,
    upstream::Upstreams,
};

/// Creates the instruments; each scrape reads the state as it is then.
pub(super) fn observe(meter: &Meter, discovery: &Arc<Discovery>, upstreams: &Arc<Upstreams>) {
    let seen = Arc::downgrade(discovery);
    meter
        .u64_observable_gauge("mcpgw_server_catalogue")
        .with_description(
            "1 for how well it is known what a server offers: ready, partial, last_good, unreachable or unknown.",
        )
        .with_callback(move |gauge| {
            for (server, state) in seen.upgrade().iter().flat_map(|discovery| discovery.states()) {
                let [namespace, name] = labels(&server);
                gauge.observe(1, &[namespace, name, KeyValue::new("state", word(&state))]);
            }
        })
        .build();
    let seen = Arc::downgrade(discovery);
    meter
        .f64_observable_gauge("mcpgw_server_catalogue_age_seconds")
        .with_description("For how long a server could not be asked for all that it offers; 0 where that is current.")
        .with_callback(move |gauge| {
            for (server, state) in seen.upgrade().iter().flat_map(|discovery| discovery.states()) {
                gauge.observe(age(&state).as_secs_f64(), &labels(&server));
            }
        })
        .build();
    let seen = Arc::downgrade(upstreams);
    meter
        .u64_observable_gauge("mcpgw_server_endpoints")
        .with_description("Addresses of servers: used, or left_alone by all because they could not be reached.")
        .with_callback(move |gauge| {
            for status in seen.upgrade().iter().flat_map(|upstreams| upstreams.status()) {
                let alone = status.endpoints.iter().filter(|endpoint| endpoint.ejected_for > 0);
                let alone = alone.count();
                for (state, count) in [("used", status.endpoints.len() - alone), ("left_alone", alone)] {
                    let [namespace, name] = labels(&status.server);
                    gauge.observe(count as u64, &[namespace, name, KeyValue::new("state", state)]);
                }
            }
        })
        .build();
}

fn labels(server: &ObjectName) -> [KeyValue; 2] {
    [
        KeyValue::new("mcp_server_namespace", server.namespace.to_string()),
        KeyValue::new("mcp_server_name", server.name.to_string()),
    ]
}

fn word(state: &State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Partial { .. } => "partial",
        State::LastGood { .. } => "last_good",
        State::Unreachable { .. } => "unreachable",
    }
}

fn age(state: &State) -> Duration {
    match state {
        State::Ready => Duration::ZERO,
        State::Partial { since, .. } | State::LastGood { since, .. } | State::Unreachable { since, .. } => {
            since.elapsed().unwrap_or_default()
        }
    }
}

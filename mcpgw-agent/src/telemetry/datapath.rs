//! Instruments that read the datapath's status, which is what the kernel says.

use std::collections::BTreeMap;

use mcpgw_common::Reason;
use opentelemetry::{KeyValue, metrics::Meter};
use tokio::sync::watch::Receiver;

use crate::datapath::status::{DatapathStatus, State};

/// Creates the instruments; each scrape reads the status as it is then.
pub(super) fn observe(meter: &Meter, status: &Receiver<DatapathStatus>) {
    let seen = status.clone();
    meter
        .u64_observable_counter("mcpgw_connects")
        .with_description("Connects that the kernel decided, since its maps were made.")
        .with_callback(move |counter| {
            for count in &seen.borrow().connects {
                let decision = KeyValue::new("decision", count.decision.clone());
                counter.observe(count.count, &[decision, KeyValue::new("reason", count.reason.clone())]);
            }
        })
        .build();
    let seen = status.clone();
    meter
        .u64_observable_counter("mcpgw_bypass_dropped")
        .with_description("Ways round that the kernel refused, by where it did, since its maps were made.")
        .with_callback(move |counter| {
            let status = seen.borrow();
            let mut dropped = BTreeMap::<_, u64>::new();
            for reason in Reason::ALL.into_iter().filter(|reason| reason.decision() == "refuse") {
                let counts = status.connects.iter().filter(|count| count.reason == reason.name());
                *dropped.entry(reason.layer()).or_default() += counts.map(|count| count.count).sum::<u64>();
            }
            for (layer, count) in dropped {
                counter.observe(count, &[KeyValue::new("layer", layer)]);
            }
        })
        .build();
    let seen = status.clone();
    meter
        .u64_observable_counter("mcpgw_sockets_destroyed")
        .with_description("Connections that were ended because they were open before they were governed.")
        .with_callback(move |counter| counter.observe(seen.borrow().sockets_destroyed, &[]))
        .build();
    let seen = status.clone();
    meter
        .u64_observable_gauge("mcpgw_pods")
        .with_description("Workloads by state.")
        .with_callback(move |gauge| {
            let status = seen.borrow();
            for state in ["enforced", "observed", "off", "pending", "refused", "not-governed"] {
                let count = status
                    .workloads
                    .iter()
                    .filter(|workload| name(&workload.state) == state)
                    .count();
                gauge.observe(count as u64, &[KeyValue::new("state", state)]);
            }
        })
        .build();
    let seen = status.clone();
    meter
        .u64_observable_gauge("mcpgw_map_entries")
        .with_description("Entries in a kernel map.")
        .with_callback(move |gauge| {
            for map in &seen.borrow().maps {
                gauge.observe(map.entries, &[KeyValue::new("map", map.name.clone())]);
            }
        })
        .build();
    let seen = status.clone();
    meter
        .u64_observable_gauge("mcpgw_map_capacity")
        .with_description("Entries that fit into a kernel map.")
        .with_callback(move |gauge| {
            for map in &seen.borrow().maps {
                gauge.observe(map.capacity, &[KeyValue::new("map", map.name.clone())]);
            }
        })
        .build();
}

/// The state without its reason, which is no label: it has no bound.
fn name(state: &State) -> &'static str {
    match state {
        State::Enforced => "enforced",
        State::Observed => "observed",
        State::Off => "off",
        State::Pending(_) => "pending",
        State::Refused(_) => "refused",
        State::NotGoverned(_) => "not-governed",
    }
}

//! Instruments that read what is pinned. Servers and states are few; tools are no labels.

use std::sync::Arc;

use opentelemetry::{KeyValue, metrics::Meter};

use crate::pins::{PinCount, Pins};

/// Creates the instrument; each scrape reads the state as it is then.
pub(super) fn observe(meter: &Meter, pins: &Arc<Pins>) {
    let seen = Arc::downgrade(pins);
    meter
        .u64_observable_gauge("mcpgw_pinned_tools")
        .with_description("Tools of pinned servers, by what has become of their definitions since they were approved.")
        .with_callback(move |gauge| {
            for count in seen.upgrade().iter().flat_map(|pins| pins.table().counts()) {
                let PinCount {
                    server,
                    approved,
                    drifted,
                    new,
                    absent,
                    ..
                } = count;
                let (namespace, name) = server.split_once('/').unwrap_or_default();
                for (state, count) in [
                    ("approved", approved),
                    ("drifted", drifted),
                    ("new", new),
                    ("absent", absent),
                ] {
                    let labels = [
                        KeyValue::new("mcp_server_namespace", namespace.to_owned()),
                        KeyValue::new("mcp_server_name", name.to_owned()),
                        KeyValue::new("state", state),
                    ];
                    gauge.observe(count as u64, &labels);
                }
            }
        })
        .build();
}

//! Instruments that read what became of questions to services outside.

use std::sync::Arc;

use opentelemetry::{KeyValue, metrics::Meter};

use crate::engines::Engines;

/// Creates the instruments; each scrape reads the state as it is then.
pub(super) fn observe(meter: &Meter, engines: &Arc<Engines>) {
    let seen = Arc::downgrade(engines);
    meter
        .u64_observable_counter("mcpgw_engine_requests")
        .with_description("Questions about calls to services outside, by what came of them.")
        .with_callback(move |counter| {
            for status in seen.upgrade().iter().flat_map(|engines| engines.status()) {
                let engine = KeyValue::new("engine", status.name);
                for (outcome, count) in [
                    ("allowed", status.counts.allowed),
                    ("refused", status.counts.refused),
                    ("failed", status.counts.failed),
                    ("not_asked", status.counts.not_asked),
                ] {
                    counter.observe(count, &[engine.clone(), KeyValue::new("outcome", outcome)]);
                }
            }
        })
        .build();
}

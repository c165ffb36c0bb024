//! Instruments that read what is known of issuers. Their names are the operator's, so that they are labels.

use std::sync::Arc;

use opentelemetry::{KeyValue, metrics::Meter};

use crate::identity::jwt::{IssuerStatus, Issuers};

/// Creates the instruments; each scrape reads the state as it is then.
pub(super) fn observe(meter: &Meter, issuers: &Arc<Issuers>) {
    let gauge = |name: &'static str, about: &'static str, value: fn(&IssuerStatus) -> Option<u64>| {
        let seen = Arc::downgrade(issuers);
        meter
            .u64_observable_gauge(name)
            .with_description(about)
            .with_callback(move |gauge| {
                for status in seen.upgrade().iter().flat_map(|issuers| issuers.status()) {
                    if let Some(value) = value(&status) {
                        gauge.observe(value, &[KeyValue::new("issuer", status.issuer)]);
                    }
                }
            })
            .build();
    };
    gauge(
        "mcpgw_jwks_keys",
        "Keys of an issuer that tokens can be verified with.",
        |status| Some(status.keys as u64),
    );
    gauge(
        "mcpgw_jwks_age_seconds",
        "Time since an issuer's keys were last read.",
        |status| status.age_seconds,
    );
    gauge(
        "mcpgw_jwks_ready",
        "Whether tokens of an issuer can be verified: its keys are known and not too old.",
        |status| Some(u64::from(status.state == "Ready")),
    );
    let seen = Arc::downgrade(issuers);
    meter
        .u64_observable_counter("mcpgw_jwks_reads")
        .with_description("How often an issuer was asked for its keys.")
        .with_callback(move |counter| {
            for status in seen.upgrade().iter().flat_map(|issuers| issuers.status()) {
                let issuer = KeyValue::new("issuer", status.issuer);
                let outcome = |word: &'static str| KeyValue::new("outcome", word);
                counter.observe(status.reads, &[issuer.clone(), outcome("ok")]);
                counter.observe(status.failed_reads, &[issuer, outcome("error")]);
            }
        })
        .build();
    let seen = Arc::downgrade(issuers);
    meter
        .u64_observable_counter("mcpgw_tokens")
        .with_description("Tokens by what became of them: known from an earlier call, verified, refused.")
        .with_callback(move |counter| {
            let Some(issuers) = seen.upgrade() else { return };
            let counts = issuers.counts();
            for (outcome, count) in [
                ("known", counts.known),
                ("verified", counts.verified),
                ("refused", counts.refused),
            ] {
                counter.observe(count, &[KeyValue::new("outcome", outcome)]);
            }
        })
        .build();
    let seen = Arc::downgrade(issuers);
    meter
        .u64_observable_gauge("mcpgw_tokens_cached")
        .with_description("Verified tokens that are remembered.")
        .with_callback(move |gauge| {
            if let Some(issuers) = seen.upgrade() {
                gauge.observe(issuers.counts().cached, &[]);
            }
        })
        .build();
}

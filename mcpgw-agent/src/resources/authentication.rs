//! `authentication` of a policy, and the mode of a gateway.

use super::{
    Authentication, Demand,
    bounds::MAX_ISSUERS,
    fields::{Field, Schema, Sink},
    issuer,
    problem::quote,
};

const DEMAND: Schema = Schema {
    known: &["mode", "issuers"],
    later: &[],
};

const MODES: [(&str, Authentication); 5] = [
    ("Attested", Authentication::Attested),
    ("Token", Authentication::Token),
    ("AttestedAndToken", Authentication::AttestedAndToken),
    ("Any", Authentication::Any),
    ("None", Authentication::None),
];

/// The mode at `field`.
pub(super) fn mode(field: &Field, sink: &mut Sink) -> Option<Authentication> {
    field.choice(&MODES, &[], sink)
}

/// A policy's demand. That its issuers are there, only all documents together can show.
pub(super) fn demand(field: &Field, sink: &mut Sink) -> Option<Demand> {
    let fields = field.fields(&DEMAND, sink)?;
    let mode_field = fields.required("mode", sink);
    let mode = mode_field.as_ref().and_then(|field| mode(field, sink));
    let issuers = match fields.optional("issuers") {
        Some(field) => {
            let advice = "leave issuers out to accept every issuer of the settings";
            issuer::texts(&field, MAX_ISSUERS, advice, sink, |name| {
                name.is_empty().then(|| format!("{} is no issuer", quote(name)))
            })
            .map(Some)
        }
        None => Some(None),
    };
    let (field, mode) = (mode_field?, mode?);
    if mode == Authentication::None {
        let reason = "None is for listeners of the gateway on loopback: no policy can let everyone in";
        field.report(sink, reason);
        return None;
    }
    Some(Demand {
        mode,
        issuers: issuers?,
    })
}

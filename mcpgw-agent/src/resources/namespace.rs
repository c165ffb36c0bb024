//! `Namespace`, as Kubernetes has it (`v1`): the labels of a namespace, by which servers are shown to its callers.

use std::sync::Arc;

use super::{
    Labels, NAME_OF_NAMESPACE,
    fields::{Field, Schema, Sink},
    labels, name,
    problem::{At, quote},
};

/// API version of the kind.
pub(super) const API_VERSION: &str = "v1";
/// The kind.
pub(super) const KIND: &str = "Namespace";

/// The whole of it as `kubectl get --output yaml` prints it: what is not about labels says nothing here.
pub(super) const DOCUMENT: Schema = Schema {
    known: &["apiVersion", "kind", "metadata", "spec", "status"],
    later: &[],
};
const METADATA: Schema = Schema {
    known: &[
        "name",
        "labels",
        "annotations",
        "creationTimestamp",
        "generation",
        "managedFields",
        "resourceVersion",
        "uid",
    ],
    later: &[],
};

/// Labels that say how the pods of a namespace are governed, and what says so in files. Of two places that could say
/// different things of one workload, one has to be refused: that is this one.
const ELSEWHERE: [(&str, &str); 2] = [
    (
        "mcpgw.dev/mode",
        "spec.mode of each Workload says whether it is governed",
    ),
    (
        "mcpgw.dev/failure-policy",
        "what a workload dials while no agent runs is refused with mode enforce, and passes with mode observe",
    ),
];

/// A namespace's name and labels.
pub(super) struct Parsed {
    pub name: Arc<str>,
    /// Where the name stands.
    pub at: At,
    /// `None` where something is wrong with them, which is then reported.
    pub labels: Option<Labels>,
}

/// Reads the metadata at `field`.
pub(super) fn read(field: &Field, sink: &mut Sink) -> Option<Parsed> {
    let metadata = field.fields(&METADATA, sink)?;
    let name_field = metadata.required("name", sink)?;
    let name = name::namespace(&name_field, sink)?;
    let labels = match metadata.optional("labels") {
        Some(field) => labels::read(&field, sink).filter(|labels| ours(name, labels, &field, sink)),
        None => Some(Labels::new()),
    };
    Some(Parsed {
        name: name.into(),
        at: name_field.node.at,
        labels,
    })
}

/// Whether labels say nothing that something else says; else that is reported.
fn ours(namespace: &str, labels: &Labels, field: &Field, sink: &mut Sink) -> bool {
    let mut ours = true;
    for (key, value) in labels {
        let reason = match ELSEWHERE.iter().find(|(label, _)| *label == &**key) {
            Some((_, instead)) => format!("is not read from files: {instead}"),
            None if **key == *NAME_OF_NAMESPACE && **value != *namespace => {
                let own = quote(namespace);
                format!("is {}, and every namespace has its own name there: {own}", quote(value))
            }
            None => continue,
        };
        field.entry(key).as_ref().unwrap_or(field).report(sink, reason);
        ours = false;
    }
    ours
}

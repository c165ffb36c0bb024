//! Selectors of labels, as Kubernetes has them.

use std::sync::Arc;

use super::{
    LabelRequirement, LabelSelector, Labels, Operator,
    bounds::{MAX_EXPRESSIONS, MAX_LABEL_VALUES},
    fields::{Field, Fields, Schema, Sink},
    labels,
};

/// The fields of a selector of labels.
pub(super) const SELECTOR: Schema = Schema {
    known: &["matchLabels", "matchExpressions"],
    later: &[],
};
const REQUIREMENT: Schema = Schema {
    known: &["key", "operator", "values"],
    later: &[],
};

/// What a mapping with the fields of [`SELECTOR`] wants.
pub(super) fn of(fields: &Fields, sink: &mut Sink) -> Option<LabelSelector> {
    let labels = match fields.optional("matchLabels") {
        Some(field) => labels::read(&field, sink),
        None => Some(Labels::new()),
    };
    let expressions = match fields.optional("matchExpressions") {
        Some(field) => list(&field, sink),
        None => Vec::new(),
    };
    Some(LabelSelector {
        labels: labels?,
        expressions,
    })
}

fn list(field: &Field, sink: &mut Sink) -> Vec<LabelRequirement> {
    let advice = "leave matchExpressions out to mean any labels";
    let list = field.list(MAX_EXPRESSIONS, advice, sink).unwrap_or_default();
    list.iter().filter_map(|field| requirement(field, sink)).collect()
}

fn requirement(field: &Field, sink: &mut Sink) -> Option<LabelRequirement> {
    let fields = field.fields(&REQUIREMENT, sink)?;
    let key = fields.required("key", sink).and_then(|field| {
        let key = field.text(sink)?;
        labels::check_key(key, &field, sink).then(|| Arc::from(key))
    });
    let operators = [
        ("In", Operator::In),
        ("NotIn", Operator::NotIn),
        ("Exists", Operator::Exists),
        ("DoesNotExist", Operator::DoesNotExist),
    ];
    let operator = fields
        .required("operator", sink)
        .and_then(|field| field.choice(&operators, &[], sink))?;
    let lists = matches!(operator, Operator::In | Operator::NotIn);
    if let (Some(field), false) = (fields.optional("values"), lists) {
        field.report(sink, "goes with In and NotIn alone");
    }
    let mut values: Vec<Arc<str>> = Vec::new();
    if lists {
        let list = fields
            .required("values", sink)?
            .list(MAX_LABEL_VALUES, "use Exists to mean any value", sink)?;
        for field in &list {
            let Some(value) = field.text(sink) else { continue };
            if labels::check_value(value, field, sink) {
                values.push(value.into());
            }
        }
    }
    Some(LabelRequirement {
        key: key?,
        operator,
        values,
    })
}

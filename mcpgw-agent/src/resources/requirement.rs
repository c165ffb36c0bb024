//! `matchExpressions` of a selector, as Kubernetes has them.

use std::sync::Arc;

use super::{
    LabelRequirement, Labels, Operator,
    bounds::{MAX_EXPRESSIONS, MAX_LABEL_VALUES},
    fields::{Field, Schema, Sink},
    labels,
};

const REQUIREMENT: Schema = Schema {
    known: &["key", "operator", "values"],
    later: &[],
};

impl LabelRequirement {
    /// Whether labels are as it wants them.
    pub fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            Operator::In => listed,
            // Also where there is no such label.
            Operator::NotIn => !listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// The requirements in the list at `field`.
pub(super) fn list(field: &Field, sink: &mut Sink) -> Vec<LabelRequirement> {
    let advice = "leave matchExpressions out to mean any labels";
    let list = field.list(MAX_EXPRESSIONS, advice, sink).unwrap_or_default();
    list.iter().filter_map(|field| read(field, sink)).collect()
}

fn read(field: &Field, sink: &mut Sink) -> Option<LabelRequirement> {
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

//! Labels, and what is wanted of them.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

/// Labels of an object, by their keys.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// Labels of namespaces, by the namespaces' names: of those that have any beside their name.
pub type NamespaceLabels = HashMap<Arc<str>, Labels>;

/// The label that every namespace has, with its name: Kubernetes sets it, and so do we.
pub const NAME_OF_NAMESPACE: &str = "kubernetes.io/metadata.name";

/// What labels must be, as Kubernetes' `LabelSelector` has it: all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// Labels that are there, with these values (`matchLabels`).
    pub labels: Labels,
    /// What else is wanted (`matchExpressions`).
    pub expressions: Vec<LabelRequirement>,
}

impl LabelSelector {
    /// Whether it selects an object with these labels. One that wants nothing selects every object.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.selects_by(|key| labels.get(key).map(|value| &**value))
    }

    /// Whether it selects a namespace. Whatever else says its name is not looked at.
    pub fn selects_namespace(&self, namespace: &str, known: &NamespaceLabels) -> bool {
        let labels = known.get(namespace);
        self.selects_by(|key| match key {
            NAME_OF_NAMESPACE => Some(namespace),
            _ => labels?.get(key).map(|value| &**value),
        })
    }

    /// Namespaces that it names, by the label that every namespace has.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let required = self.labels.get(NAME_OF_NAMESPACE);
        let about_names = |requirement: &&LabelRequirement| &*requirement.key == NAME_OF_NAMESPACE;
        let listed = self.expressions.iter().filter(about_names);
        required
            .into_iter()
            .chain(listed.flat_map(|requirement| &requirement.values))
    }

    fn selects_by<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        let Self { labels, expressions } = self;
        labels.iter().all(|(key, wanted)| value(key) == Some(&**wanted))
            && expressions.iter().all(|wanted| wanted.holds(value(&wanted.key)))
    }
}

/// As `kubectl get --selector` takes it.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.labels.iter().map(|(key, value)| format!("{key}={value}"));
        let wanted = labels.chain(self.expressions.iter().map(ToString::to_string));
        f.write_str(&wanted.collect::<Vec<_>>().join(","))
    }
}

/// What a selector wants of one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelRequirement {
    /// The label's key.
    pub key: Arc<str>,
    /// What is wanted of its value.
    pub operator: Operator,
    /// Values, for [`Operator::In`] and [`Operator::NotIn`]: at least one; else none.
    pub values: Vec<Arc<str>>,
}

impl LabelRequirement {
    /// Whether a label is as it wants it; `None`: there is no such label.
    pub fn holds(&self, value: Option<&str>) -> bool {
        let listed = value.is_some_and(|value| self.values.iter().any(|known| **known == *value));
        match self.operator {
            Operator::In => listed,
            // Also where there is no such label.
            Operator::NotIn => !listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl fmt::Display for LabelRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, values, .. } = self;
        match self.operator {
            Operator::In => write!(f, "{key} in ({})", values.join(",")),
            Operator::NotIn => write!(f, "{key} notin ({})", values.join(",")),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

/// What is wanted of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// It is there, with one of the values.
    In,
    /// It is not there, or has another value.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

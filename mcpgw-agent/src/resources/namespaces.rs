//! Lists of namespaces, or `["*"]`.

use std::sync::Arc;

use super::{
    Namespaces,
    bounds::MAX_EXPOSED,
    fields::{Field, Sink},
    name,
    problem::quote,
    yaml::Value,
};

/// The namespaces at `field`; `when_absent` is advice about an empty list.
pub(super) fn read(field: &Field, when_absent: &str, sink: &mut Sink) -> Option<Namespaces> {
    let list = field.list(MAX_EXPOSED, when_absent, sink)?;
    let is_star = |field: &Field| matches!(&field.node.value, Value::Text(text) if text == "*");
    if let [only] = &*list
        && is_star(only)
    {
        return Some(Namespaces::All);
    }
    let mut namespaces: Vec<Arc<str>> = Vec::new();
    for field in &list {
        if is_star(field) {
            field.report(sink, "\"*\" is every namespace: write it alone");
            continue;
        }
        let Some(namespace) = name::namespace(field, sink) else {
            continue;
        };
        if namespaces.iter().any(|known| **known == *namespace) {
            field.report(sink, format!("{} is listed twice", quote(namespace)));
        } else {
            namespaces.push(namespace.into());
        }
    }
    Some(Namespaces::These(namespaces))
}

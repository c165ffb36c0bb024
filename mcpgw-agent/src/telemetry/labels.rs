//! Which tool names may become a label: a caller must not be able to make series.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use crate::resources::ObjectName;

/// Tool names of one server that become labels; the names that follow are counted as [`OTHER`].
pub const MAX_TOOL_LABELS: usize = 256;
/// Longest tool name that becomes a label, in bytes: the limit that MCP gives to names.
const MAX_LABEL_LENGTH: usize = 128;
/// The label of every tool without one of its own.
pub const OTHER: &str = "_other";

/// The tool names that are labels, by server.
#[derive(Default)]
pub(super) struct ToolLabels {
    servers: RwLock<HashMap<ObjectName, HashSet<Arc<str>>>>,
}

impl ToolLabels {
    /// The label for a call of `tool`. A name becomes a label when it is `proven`: a rule names it, or the
    /// server just ran it with success.
    pub(super) fn label(&self, server: &ObjectName, tool: &str, proven: bool) -> Arc<str> {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        let known = servers.get(server);
        if let Some(label) = known.and_then(|labels| labels.get(tool)) {
            return Arc::clone(label);
        }
        let room = known.is_none_or(|labels| labels.len() < MAX_TOOL_LABELS);
        drop(servers);
        if !proven || !room || tool.len() > MAX_LABEL_LENGTH {
            return OTHER.into();
        }
        let mut servers = self.servers.write().unwrap_or_else(PoisonError::into_inner);
        let labels = servers.entry(server.clone()).or_default();
        if labels.len() >= MAX_TOOL_LABELS {
            return OTHER.into();
        }
        let label: Arc<str> = tool.into();
        labels.insert(Arc::clone(&label));
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str) -> ObjectName {
        ObjectName {
            namespace: "tools".into(),
            name: name.into(),
        }
    }

    #[test]
    fn a_name_is_a_label_once_it_is_proven() {
        let labels = ToolLabels::default();
        assert_eq!(&*labels.label(&server("a"), "add", false), OTHER);
        assert_eq!(&*labels.label(&server("a"), "add", true), "add");
        assert_eq!(&*labels.label(&server("a"), "add", false), "add");
        assert_eq!(&*labels.label(&server("b"), "add", false), OTHER);
    }

    #[test]
    fn names_are_bounded_in_number_and_length() {
        let labels = ToolLabels::default();
        for n in 0..MAX_TOOL_LABELS {
            assert_eq!(*labels.label(&server("a"), &n.to_string(), true), n.to_string());
        }
        assert_eq!(&*labels.label(&server("a"), "one more", true), OTHER);
        assert_eq!(&*labels.label(&server("a"), "0", false), "0");
        assert_eq!(
            &*labels.label(&server("b"), &"x".repeat(MAX_LABEL_LENGTH + 1), true),
            OTHER
        );
    }
}

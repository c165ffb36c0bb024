//! How grave what a server logs is.

use serde::{Deserialize, Serialize};

/// How grave what a server logs is, as RFC 5424 tells it; ordered from the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Of use to who looks for a fault.
    Debug,
    /// It is as it should be.
    Info,
    /// It is as it should be, and worth a look.
    Notice,
    /// It may go wrong.
    Warning,
    /// It went wrong.
    Error,
    /// A part of the server went wrong.
    Critical,
    /// Somebody must do something at once.
    Alert,
    /// The server is of no use.
    Emergency,
}

impl Level {
    /// From JSON; `None` if it is no level.
    pub fn of(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_and_nothing_else_is_one() {
        let of = |text: &str| Level::of(&format!("\"{text}\""));
        let names = [
            "debug",
            "info",
            "notice",
            "warning",
            "error",
            "critical",
            "alert",
            "emergency",
        ];
        let levels: Vec<Level> = names.iter().filter_map(|name| of(name)).collect();
        assert_eq!(levels.len(), names.len());
        assert!(levels.is_sorted());
        for none in [r#""Debug""#, r#""loud""#, "7", "null", "{}"] {
            assert_eq!(Level::of(none), None, "{none}");
        }
    }
}

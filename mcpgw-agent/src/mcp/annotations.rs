//! What a server says of its tools (`annotations`), and how much of it is believed.
//!
//! The specification calls annotations hints, which a client must not trust unless it trusts the server. Only what
//! makes a tool look harmless can mislead anybody, so that it is believed of a trusted server alone; what is not said,
//! or not believed, is the worst: the defaults of the specification.

use serde_json::Value;

use super::part::Part;

/// What a server says of a tool. `None`: nothing, or nothing that could be read in one way only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// `readOnlyHint`: it changes nothing.
    pub read_only: Option<bool>,
    /// `destructiveHint`: what it changes may be lost.
    pub destructive: Option<bool>,
    /// `idempotentHint`: once more changes nothing more.
    pub idempotent: Option<bool>,
    /// `openWorldHint`: it reaches beyond what the server knows.
    pub open_world: Option<bool>,
}

/// What a tool is taken for. The default is the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hints {
    /// It changes nothing.
    pub read_only: bool,
    /// What it changes may be lost.
    pub destructive: bool,
    /// Once more changes nothing more.
    pub idempotent: bool,
    /// It reaches beyond what the server knows.
    pub open_world: bool,
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            read_only: false,
            destructive: true,
            idempotent: false,
            open_world: true,
        }
    }
}

impl Annotations {
    /// Those in the member `annotations` of a tool.
    pub fn of(written: &Value) -> Self {
        let hint = |name: &str| written.get(name).and_then(Value::as_bool);
        Self {
            read_only: hint("readOnlyHint"),
            destructive: hint("destructiveHint"),
            idempotent: hint("idempotentHint"),
            open_world: hint("openWorldHint"),
        }
    }

    /// Those of a tool as it was written. Where a member is there twice clients could read either, so that nothing
    /// was said.
    pub fn of_tool(json: &[u8]) -> Self {
        let tool = Part::of_body(json).and_then(|part| part.value());
        let annotations = tool.as_ref().ok().and_then(|tool| tool.get("annotations"));
        annotations.map_or_else(Self::default, Self::of)
    }

    /// What the tool is taken for, where the server is trusted or not.
    ///
    /// A tool that changes nothing destroys nothing, and may be called again; one that is said to be both read-only
    /// and destructive is not read-only.
    pub fn believed(&self, trusted: bool) -> Hints {
        if !trusted {
            return Hints::default();
        }
        let worst = Hints::default();
        let read_only = self.read_only.unwrap_or(worst.read_only) && self.destructive != Some(true);
        Hints {
            read_only,
            destructive: self.destructive.unwrap_or(worst.destructive && !read_only),
            idempotent: self.idempotent.unwrap_or(worst.idempotent || read_only),
            open_world: self.open_world.unwrap_or(worst.open_world),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read-only, destructive, idempotent, open world, as a trusted server's tool is taken.
    fn trusted(annotations: &str) -> [bool; 4] {
        let tool = format!(r#"{{"name":"t","annotations":{annotations}}}"#);
        let Hints {
            read_only,
            destructive,
            idempotent,
            open_world,
        } = Annotations::of_tool(tool.as_bytes()).believed(true);
        [read_only, destructive, idempotent, open_world]
    }

    const WORST: [bool; 4] = [false, true, false, true];

    #[test]
    fn what_is_not_said_is_the_worst() {
        for nothing in ["{}", "null", "7", "[]", r#"{"title":"x"}"#] {
            assert_eq!(trusted(nothing), WORST, "{nothing}");
        }
        assert_eq!(Annotations::of_tool(b"{}").believed(true), Hints::default());
    }

    #[test]
    fn what_is_said_counts_where_the_server_is_trusted_and_nowhere_else() {
        assert_eq!(trusted(r#"{"readOnlyHint":true}"#), [true, false, true, true]);
        assert_eq!(
            trusted(r#"{"destructiveHint":false,"openWorldHint":false}"#),
            [false, false, false, false]
        );
        assert_eq!(trusted(r#"{"idempotentHint":true}"#), [false, true, true, true]);
        let harmless = Annotations {
            read_only: Some(true),
            destructive: Some(false),
            idempotent: Some(true),
            open_world: Some(false),
        };
        assert_eq!(harmless.believed(false), Hints::default());
    }

    #[test]
    fn what_contradicts_itself_or_can_be_read_in_two_ways_is_the_worst() {
        assert_eq!(trusted(r#"{"readOnlyHint":true,"destructiveHint":true}"#), WORST);
        assert_eq!(trusted(r#"{"readOnlyHint":true,"readOnlyHint":true}"#), WORST);
        assert_eq!(trusted(r#"{"readOnlyHint":"true"}"#), WORST);
        assert_eq!(trusted(r#"{"readOnlyHint":true},"annotations":{}"#), WORST);
        assert_eq!(Annotations::of_tool(b"{").believed(true), Hints::default());
    }
}

//! Tool globs.

use globset::{GlobBuilder, GlobMatcher, GlobSet};

/// A glob over a whole tool name, case-sensitive: `*` is any number of characters (none and `/` included),
/// `?` one, `[a-z]` one of a class, `{a,b}` one of several; a backslash takes the next character literally.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: Box<str>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Any,
    Literal,
    Glob(GlobMatcher),
}

/// A glob that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tool pattern {pattern:?}: {reason}")]
pub struct PatternError {
    /// The glob.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Pattern {
    /// Compiles a glob.
    pub fn new(glob: &str) -> Result<Self, PatternError> {
        let kind = if glob == "*" {
            Kind::Any
        } else if !glob.contains(['*', '?', '[', ']', '{', '}', '\\']) {
            Kind::Literal
        } else {
            let compiled = GlobBuilder::new(glob)
                .literal_separator(false)
                .backslash_escape(true)
                .build();
            // A set returns what a matcher would panic on. It is not used for matching: it tells file
            // extensions apart, and tool names have none.
            let checked = compiled.and_then(|glob| GlobSet::builder().add(glob.clone()).build().map(|_| glob));
            let glob = checked.map_err(|error| PatternError {
                pattern: glob.to_owned(),
                reason: error.kind().to_string(),
            })?;
            Kind::Glob(glob.compile_matcher())
        };
        Ok(Self {
            source: glob.into(),
            kind,
        })
    }

    /// Whether the glob matches this tool name.
    pub fn matches(&self, tool: &str) -> bool {
        match &self.kind {
            Kind::Any => true,
            Kind::Literal => *self.source == *tool,
            Kind::Glob(glob) => glob.is_match(tool),
        }
    }

    /// The glob as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The one name that it matches, if it has no wildcard.
    pub fn literal(&self) -> Option<&str> {
        matches!(self.kind, Kind::Literal).then_some(&self.source)
    }
}

/// The same text is the same pattern.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(glob: &str, tool: &str) -> bool {
        Pattern::new(glob).unwrap().matches(tool)
    }

    #[test]
    fn a_glob_is_about_the_whole_name_and_its_case() {
        assert!(matches("add", "add") && !matches("add", "add2") && !matches("add", "Add"));
        assert!(matches("get_*", "get_") && matches("get_*", "get_a/b.c\n") && !matches("get_*", "forget_x"));
        assert!(
            matches("*.delete", ".delete") && matches("*.delete", "a/b.delete") && !matches("*.delete", "x.delete/")
        );
        assert!(matches("{add,sub}_?", "sub_1") && !matches("{add,sub}_?", "sub_12"));
        assert!(matches(r"\*", "*") && !matches(r"\*", "x"));
    }

    #[test]
    fn a_bad_glob_is_named() {
        let error = Pattern::new("get_[a").unwrap_err();
        assert!(error.to_string().starts_with("tool pattern \"get_[a\": "), "{error}");
    }

    proptest! {
        #[test]
        fn a_star_matches_every_name(name in any::<String>()) {
            prop_assert!(matches("*", &name) && matches("**", &name));
        }

        #[test]
        fn a_prefix_glob_is_a_prefix_test(prefix in "[A-Za-z0-9_.-]{0,4}", name in "[A-Za-z0-9_./-]{0,8}") {
            prop_assert_eq!(matches(&format!("{prefix}*"), &name), name.starts_with(&prefix));
            prop_assert_eq!(matches(&format!("*{prefix}"), &name), name.ends_with(&prefix));
        }

        #[test]
        fn a_name_without_wildcards_matches_itself_alone(glob in "[A-Za-z0-9_./-]{1,6}", name in "[A-Za-z0-9_./-]{1,6}") {
            prop_assert!(matches(&glob, &glob));
            prop_assert_eq!(matches(&glob, &name), glob == name);
        }
    }
}

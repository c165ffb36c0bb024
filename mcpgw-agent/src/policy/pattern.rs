//! Tool globs.

use globset::{GlobBuilder, GlobMatcher};

/// A glob over a whole tool name, case-sensitive: `*` is any number of characters (none and `/` included),
/// `?` one, `[a-z]` one of a class, `{a,b}` one of several; a backslash takes the next character literally.
#[derive(Clone, Debug)]
pub struct Pattern(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Any,
    Literal(Box<str>),
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
        if glob == "*" {
            return Ok(Self(Kind::Any));
        }
        if !glob.contains(['*', '?', '[', ']', '{', '}', '\\']) {
            return Ok(Self(Kind::Literal(glob.into())));
        }
        GlobBuilder::new(glob)
            .literal_separator(false)
            .backslash_escape(true)
            .build()
            // A matcher of its own: a `GlobSet` tells file extensions apart, and tool names have none.
            .map(|glob| Self(Kind::Glob(glob.compile_matcher())))
            .map_err(|error| PatternError {
                pattern: glob.to_owned(),
                reason: error.kind().to_string(),
            })
    }

    /// Whether the glob matches this tool name.
    pub fn matches(&self, tool: &str) -> bool {
        match &self.0 {
            Kind::Any => true,
            Kind::Literal(name) => **name == *tool,
            Kind::Glob(glob) => glob.is_match(tool),
        }
    }

    /// The one name that it matches, if it has no wildcard.
    pub fn literal(&self) -> Option<&str> {
        match &self.0 {
            Kind::Literal(name) => Some(name),
            _ => None,
        }
    }
}

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

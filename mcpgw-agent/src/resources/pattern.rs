//! Globs over names.

use globset::{GlobBuilder, GlobMatcher, GlobSet};

/// Characters that do not stand for themselves.
const SPECIAL: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

/// A glob over a whole name, case-sensitive: `*` is any number of characters (none and `/` included),
/// `?` one, `[a-z]` one of a class, `{a,b}` one of several; a backslash takes the next character literally.
#[derive(Clone)]
pub struct Pattern {
    source: Box<str>,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Any,
    Literal,
    Glob(GlobMatcher),
}

/// A glob that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern {pattern:?}: {reason}")]
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
        } else if !glob.contains(SPECIAL) {
            Kind::Literal
        } else {
            let compiled = GlobBuilder::new(glob)
                .literal_separator(false)
                .backslash_escape(true)
                .build();
            // A set returns what a matcher would panic on. It is not used for matching: it tells file
            // extensions apart, and names have none.
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

    /// Matches every name.
    pub fn any() -> Self {
        Self {
            source: "*".into(),
            kind: Kind::Any,
        }
    }

    /// Whether the glob matches this name.
    pub fn matches(&self, name: &str) -> bool {
        match &self.kind {
            Kind::Any => true,
            Kind::Literal => *self.source == *name,
            Kind::Glob(glob) => glob.is_match(name),
        }
    }

    /// The glob as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether it matches every name.
    pub fn is_any(&self) -> bool {
        matches!(self.kind, Kind::Any)
    }

    /// The text that every name that it matches begins with, and the text that every one ends with.
    pub fn ends(&self) -> (&str, &str) {
        match self.kind {
            Kind::Any => ("", ""),
            Kind::Literal => (&self.source, &self.source),
            Kind::Glob(_) => {
                let head = self.source.find(SPECIAL).unwrap_or(self.source.len());
                // Behind a bracket, a brace, a backslash or two stars a character need not stand for itself.
                let unclear = self.source.contains(['[', ']', '{', '}', '\\']) || self.source.contains("**");
                let tail = match unclear {
                    true => self.source.len(),
                    false => self.source.rfind(SPECIAL).map_or(0, |last| last + 1),
                };
                (&self.source[..head], &self.source[tail..])
            }
        }
    }

    /// The one name that it matches, if it has no wildcard.
    pub fn literal(&self) -> Option<&str> {
        matches!(self.kind, Kind::Literal).then_some(&self.source)
    }
}

/// As it was written: the compiled automaton fills pages.
impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pattern({:?})", self.source)
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
        assert!(error.to_string().starts_with("pattern \"get_[a\": "), "{error}");
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
        fn what_a_glob_matches_has_its_ends(
            glob in r"[ab/]{0,2}([*?]|\*\*|\[ab\]|\{a,b\}|\\\*)[ab/]{0,2}[*?]?[ab]{0,2}", name in "[ab/*]{0,6}",
        ) {
            let pattern = Pattern::new(&glob).unwrap();
            let (head, tail) = pattern.ends();
            prop_assert!(!pattern.matches(&name) || name.starts_with(head) && name.ends_with(tail), "{head} {tail}");
        }

        #[test]
        fn a_name_without_wildcards_matches_itself_alone(glob in "[A-Za-z0-9_./-]{1,6}", name in "[A-Za-z0-9_./-]{1,6}") {
            prop_assert!(matches(&glob, &glob));
            prop_assert_eq!(matches(&glob, &name), glob == name);
        }
    }
}

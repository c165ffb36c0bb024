//! The members of a JSON object: keys as they read after decoding, none of them twice.

use std::{borrow::Cow, collections::HashSet};

/// Keys of one object that were seen so far.
///
/// Known ones are bits. Few others are compared one by one, which costs no hashing; an object with many cannot make
/// that quadratic.
#[derive(Default)]
pub(super) struct Seen<'a> {
    known: u32,
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Seen<'a> {
    /// Keys that are compared one by one.
    const FEW: usize = 16;

    /// Remembers a key, which is `names[known]` if it is one of the known names; `false` if it was there already.
    pub(super) fn insert(&mut self, known: Option<usize>, key: Cow<'a, str>) -> bool {
        if let Some(known) = known {
            let bit = 1 << known;
            let new = self.known & bit == 0;
            self.known |= bit;
            return new;
        }
        if self.few.contains(&key) {
            return false;
        }
        if self.few.len() < Self::FEW {
            self.few.push(key);
            return true;
        }
        self.many.insert(key)
    }
}

/// Which of `names` the key is. There are no more than 32 names.
pub(super) fn known(key: &str, names: &[&str]) -> Option<usize> {
    names.iter().position(|name| *name == key)
}

/// Whether a lenient parser could take `key` for one of `names` though it is none of them: Go's
/// `encoding/json` matches keys without regard to case, by Unicode's simple folding.
pub(crate) fn looks_like(key: &str, names: &[&str]) -> bool {
    // Folding makes texts shorter, and never by more than two bytes of three.
    let may = |name: &&&str| key.len() <= 3 * name.len() && name.len() <= 3 * key.len();
    let alike = |name: &&str| key != *name && folded(key).eq(folded(name));
    names.iter().filter(may).any(alike)
}

fn folded(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|c| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_new_once_however_many_there_are() {
        let mut seen = Seen::default();
        let keys: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert!(keys.iter().all(|key| seen.insert(None, Cow::Borrowed(key))));
        assert!(!keys.iter().any(|key| seen.insert(None, Cow::Borrowed(key))));
    }

    #[test]
    fn a_known_key_is_new_once_too() {
        let mut seen = Seen::default();
        assert!(seen.insert(known("b", &["a", "b"]), Cow::Borrowed("b")));
        assert!(seen.insert(known("a", &["a", "b"]), Cow::Borrowed("a")));
        assert!(!seen.insert(known("b", &["a", "b"]), Cow::Borrowed("b")));
    }

    #[test]
    fn keys_that_differ_by_case_look_alike_and_equal_ones_do_not() {
        let names = ["jsonrpc", "params", "name"];
        for key in ["Name", "PARAMS", "paramſ", "JsonRPC"] {
            assert!(looks_like(key, &names), "{key}");
        }
        for key in ["name", "names", "nam", "título"] {
            assert!(!looks_like(key, &names), "{key}");
        }
    }
}

//! The members of a JSON object: keys as they read after decoding, none of them twice.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Keys of one object that were seen so far. Few keys are compared one by one, which costs no hashing; an
/// object with many cannot make that quadratic.
#[derive(Default)]
pub(super) struct Seen<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Seen<'de> {
    /// Keys that are compared one by one.
    const FEW: usize = 16;

    /// Remembers a key; `false` if it was there already.
    pub(super) fn insert(&mut self, key: Cow<'de, str>) -> bool {
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

/// Whether a lenient parser could take `key` for one of `names` though it is none of them: Go's
/// `encoding/json` matches keys without regard to case, by Unicode's simple folding.
pub(super) fn looks_like(key: &str, names: &[&str]) -> bool {
    names.iter().any(|name| key != *name && folded(key).eq(folded(name)))
}

fn folded(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|c| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    })
}

/// How to read a value of which only some types matter; the rest is checked and forgotten.
///
/// It is checked as strictly as `serde_json::Value` checks it: nesting is bounded, strings are UTF-8 without
/// lone surrogates, numbers are in range. (`IgnoredAny` and `RawValue` check none of these.)
pub(super) trait Read<'de>: Sized {
    /// What is read.
    type Out: Default;

    /// Reads a string, decoded; borrowed where it has no escapes.
    fn text(self, _: Cow<'de, str>) -> Self::Out {
        Self::Out::default()
    }

    /// Reads an object.
    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Out, A::Error> {
        while map.next_key_seed(Any(Skip))?.is_some() {
            map.next_value_seed(Any(Skip))?;
        }
        Ok(Self::Out::default())
    }

    /// Reads an array.
    fn array<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Out, A::Error> {
        while seq.next_element_seed(Any(Skip))?.is_some() {}
        Ok(Self::Out::default())
    }
}

/// Reads nothing.
pub(super) struct Skip;

impl Read<'_> for Skip {
    type Out = ();
}

/// Reads a string; a value of another type is `None`.
pub(super) struct Text;

impl<'de> Read<'de> for Text {
    type Out = Option<Cow<'de, str>>;

    fn text(self, text: Cow<'de, str>) -> Self::Out {
        Some(text)
    }
}

/// A value of any type, read by `R`.
pub(super) struct Any<R>(pub(super) R);

impl<'de, R: Read<'de>> DeserializeSeed<'de> for Any<R> {
    type Value = R::Out;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<R::Out, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, R: Read<'de>> Visitor<'de> for Any<R> {
    type Value = R::Out;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<R::Out, E> {
        Ok(self.0.text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<R::Out, E> {
        Ok(self.0.text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<R::Out, A::Error> {
        self.0.array(seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<R::Out, A::Error> {
        self.0.object(map)
    }

    fn visit_bool<E>(self, _: bool) -> Result<R::Out, E> {
        Ok(R::Out::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<R::Out, E> {
        Ok(R::Out::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<R::Out, E> {
        Ok(R::Out::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<R::Out, E> {
        Ok(R::Out::default())
    }

    fn visit_unit<E>(self) -> Result<R::Out, E> {
        Ok(R::Out::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_new_once_however_many_there_are() {
        let mut seen = Seen::default();
        let keys: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert!(keys.iter().all(|key| seen.insert(Cow::Borrowed(key))));
        assert!(!keys.iter().any(|key| seen.insert(Cow::Borrowed(key))));
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

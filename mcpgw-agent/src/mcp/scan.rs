//! Reads JSON text from front to back, strictly, and knows where in the text everything stands.
//!
//! It accepts exactly what `serde_json` reads into a `Value`: nesting is bounded, strings have no lone surrogates,
//! numbers are in range. Unlike a deserialiser it tells positions, decodes only what is asked for, and looks at
//! each byte once.

use std::borrow::Cow;

use serde_json::Number;

use super::part::{Part, Text};

/// How deeply arrays and objects may be nested; the limit of `serde_json`.
const MAX_DEPTH: u8 = 127;

/// No JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct Fault {
    what: &'static str,
    at: usize,
}

/// Reads one value, then [`Scanner::end`].
pub(crate) struct Scanner<'a> {
    text: &'a str,
    /// Where in the body the text begins.
    base: usize,
    at: usize,
    depth: u8,
}

/// A string as it was written.
pub(crate) struct Quoted<'a> {
    part: Part<'a>,
    escaped: bool,
}

impl<'a> Quoted<'a> {
    /// What it says; borrowed where it has no escapes.
    pub(crate) fn decode(&self) -> Result<Cow<'a, str>, Fault> {
        let written = self.part.get();
        if !self.escaped {
            return Ok(Cow::Borrowed(&written[1..written.len() - 1]));
        }
        let fault = |_| Fault {
            what: "invalid escape",
            at: self.part.span().start,
        };
        serde_json::from_str(written).map(Cow::Owned).map_err(fault)
    }
}

impl<'a> Scanner<'a> {
    /// Reads `body`, which must be UTF-8.
    pub(crate) fn new(body: &'a [u8]) -> Result<Self, Fault> {
        match std::str::from_utf8(body) {
            Ok(text) => Ok(Self {
                text,
                base: 0,
                at: 0,
                depth: 0,
            }),
            Err(error) => Err(Fault {
                what: "invalid UTF-8",
                at: error.valid_up_to(),
            }),
        }
    }

    /// Reads a value that was found earlier.
    pub(crate) fn of(part: Part<'a>) -> Self {
        Self {
            text: part.get(),
            base: part.span().start,
            at: 0,
            depth: 0,
        }
    }

    /// The byte that the next value begins with.
    pub(crate) fn peek(&mut self) -> Result<u8, Fault> {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.byte() {
            self.at += 1;
        }
        self.byte().ok_or_else(|| self.fault("unexpected end"))
    }

    /// Checks that nothing comes any more.
    pub(crate) fn end(mut self) -> Result<(), Fault> {
        match self.peek() {
            Ok(_) => Err(self.fault("trailing characters")),
            Err(_) => Ok(()),
        }
    }

    /// Reads any value.
    pub(crate) fn skip(&mut self) -> Result<Part<'a>, Fault> {
        match self.peek()? {
            b'"' => Ok(self.quoted()?.part),
            b'{' => self.members(|scanner, _| scanner.skip().map(drop)),
            b'[' => self.elements(|scanner| scanner.skip().map(drop)),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => Err(self.fault("expected a value")),
        }
    }

    /// Reads a value, and says it decoded where it is a string.
    pub(crate) fn text(&mut self) -> Result<Option<Text<'a>>, Fault> {
        if self.peek()? != b'"' {
            self.skip()?;
            return Ok(None);
        }
        let quoted = self.quoted()?;
        Ok(Some(Text {
            value: quoted.decode()?,
            span: quoted.part.span(),
        }))
    }

    /// Reads an object; `each` reads the value that belongs to the key.
    pub(crate) fn members<E: From<Fault>>(
        &mut self,
        mut each: impl FnMut(&mut Self, Quoted<'a>) -> Result<(), E>,
    ) -> Result<Part<'a>, E> {
        self.within(b'{', b'}', |scanner| {
            let key = scanner.quoted()?;
            if scanner.peek()? != b':' {
                return Err(scanner.fault("expected a colon").into());
            }
            scanner.at += 1;
            each(scanner, key)
        })
    }

    /// Reads an array; `each` reads one element.
    pub(crate) fn elements<E: From<Fault>>(
        &mut self,
        each: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<Part<'a>, E> {
        self.within(b'[', b']', each)
    }

    /// Reads what stands between brackets, separated by commas.
    fn within<E: From<Fault>>(
        &mut self,
        open: u8,
        close: u8,
        mut each: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<Part<'a>, E> {
        if self.peek()? != open {
            return Err(self.fault("expected another type").into());
        }
        if self.depth == MAX_DEPTH {
            return Err(self.fault("nested too deeply").into());
        }
        let start = self.at;
        self.depth += 1;
        self.at += 1;
        if self.peek()? != close {
            loop {
                each(self)?;
                match self.peek()? {
                    b',' => self.at += 1,
                    byte if byte == close => break,
                    _ => return Err(self.fault("expected a comma").into()),
                }
            }
        }
        self.at += 1;
        self.depth -= 1;
        Ok(self.since(start))
    }

    fn quoted(&mut self) -> Result<Quoted<'a>, Fault> {
        if self.peek()? != b'"' {
            return Err(self.fault("expected a string"));
        }
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at = plain(self.text.as_bytes(), self.at);
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.fault("control character in a string")),
                None => return Err(self.fault("unexpected end")),
            }
        }
        self.at += 1;
        let part = self.since(start);
        Ok(Quoted { part, escaped })
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.byte() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => match self.unit()? {
                0xdc00..=0xdfff => Err(self.fault("lone surrogate")),
                0xd800..=0xdbff => {
                    let again = self.text.as_bytes()[self.at..].starts_with(b"\\u");
                    self.at += usize::from(again);
                    match again && matches!(self.unit()?, 0xdc00..=0xdfff) {
                        true => Ok(()),
                        false => Err(self.fault("lone surrogate")),
                    }
                }
                _ => Ok(()),
            },
            _ => Err(self.fault("invalid escape")),
        }
    }

    /// Reads `uXXXX`.
    fn unit(&mut self) -> Result<u16, Fault> {
        let digits = self.text.as_bytes().get(self.at + 1..self.at + 5);
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let unit = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.fault("invalid escape"))?;
        self.at += 5;
        Ok(unit)
    }

    fn number(&mut self) -> Result<Part<'a>, Fault> {
        /// Up to this length, and with an exponent of up to two digits, no number is out of range.
        const SURE: usize = 200;

        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        match self.byte() {
            Some(b'0') => self.at += 1,
            _ => self.digits().map(drop)?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let mut exponent = 0;
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            exponent = self.digits()?;
        }
        let number = self.since(start);
        let sure = number.get().len() <= SURE && exponent <= 2;
        if sure || serde_json::from_str::<Number>(number.get()).is_ok() {
            Ok(number)
        } else {
            Err(self.fault("number out of range"))
        }
    }

    /// Reads at least one digit; how many there were.
    fn digits(&mut self) -> Result<usize, Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        match self.at - start {
            0 => Err(self.fault("expected a digit")),
            count => Ok(count),
        }
    }

    fn word(&mut self, word: &'static str) -> Result<Part<'a>, Fault> {
        let start = self.at;
        if self.text.as_bytes()[start..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(self.since(start))
        } else {
            Err(self.fault("expected a value"))
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// What was read from `start` on. Values begin and end with ASCII, so that they are never cut in a character.
    fn since(&self, start: usize) -> Part<'a> {
        Part::new(&self.text[start..self.at], self.base + start)
    }

    fn fault(&self, what: &'static str) -> Fault {
        Fault {
            what,
            at: self.base + self.at,
        }
    }
}

/// Where, from `at` on, is the first byte that means something in a string.
fn plain(bytes: &[u8], mut at: usize) -> usize {
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    // Without a branch for each byte, so that long texts are compared in vectors.
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<64>()) {
        if chunk.iter().fold(false, |found, byte| found | special(*byte)) {
            break;
        }
        at += chunk.len();
    }
    while bytes.get(at).is_some_and(|byte| !special(*byte)) {
        at += 1;
    }
    at
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;

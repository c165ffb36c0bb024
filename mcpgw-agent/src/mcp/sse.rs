//! Event streams (`text/event-stream`), read and written as the WHATWG standard has them.
//!
//! The parser takes the chunks of a body as they come and cuts them into events that can be passed on byte for
//! byte. Every byte is looked at once; an event that lies whole in one chunk is a slice of it, and what is cut
//! over chunks is gathered in one buffer. The end of a stream discards what has no blank line behind it.

use std::{fmt, mem, ops::Range};

use bytes::Bytes;
use memchr::memchr2;

use super::held::Held;
use crate::shares::Payer;

/// What may stand before the first line of a stream.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One block of a stream, up to and with the blank line that ends it.
///
/// Joined, the `raw` of all blocks and the [`Parser::remainder`] are the stream. Not every block is an event to a
/// client: one without `data` is a comment, sets the id or the delay, or is a blank line too many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// As it was received.
    pub raw: Bytes,
    /// Its data lines, joined by LF; `None` where it has none, so that a client takes no notice of it.
    pub data: Option<Bytes>,
    /// Its type; `None` means `message`.
    pub kind: Option<Line>,
    /// What a client may resume the stream behind. An empty one takes an earlier one back.
    pub id: Option<Line>,
    /// After how many milliseconds a client may connect again.
    pub retry: Option<u64>,
}

impl Event {
    /// The same event with other data.
    pub fn with_data(&self, data: &[u8]) -> Bytes {
        write(data, self.kind.as_ref(), self.id.as_ref(), self.retry)
    }
}

/// The value of a field: one line, without CR and LF. What is written with it stays one field.
#[derive(Clone, PartialEq, Eq)]
pub struct Line(Bytes);

impl Line {
    /// The type of the first event of a 2024-11-05 stream, whose data is where to post to.
    pub const ENDPOINT: Self = Self(Bytes::from_static(b"endpoint"));
    /// The type that an event without one has.
    pub const MESSAGE: Self = Self(Bytes::from_static(b"message"));

    /// `None` if `text` is more than a line, or has a NUL, with which an id counts for nothing.
    pub fn new(text: impl Into<Bytes>) -> Option<Self> {
        let text = text.into();
        let one_line = !text.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0));
        one_line.then_some(Self(text))
    }

    /// Its bytes, which are UTF-8 where the sender keeps to the standard.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its text; `None` if it is not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// An event is larger than the bound that the parser was given, or than there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {max} bytes, or than there is room for")]
pub struct TooLarge {
    /// The bound.
    pub max: usize,
}

/// Cuts a stream into events. [`feed`](Self::feed) it a chunk, then iterate to the end, then feed the next.
///
/// It holds a chunk, and of an event that is cut at most twice its bound. After [`TooLarge`] it is of no more
/// use: it holds nothing and yields nothing.
#[derive(Debug)]
pub struct Parser {
    max_event: usize,
    /// What of the last chunk was not looked at.
    chunk: Bytes,
    /// The beginning of the event that is being received, looked at already.
    begun: Vec<u8>,
    /// Its share of the memory; that of an event that was gathered goes back when the next chunk comes.
    held: Held,
    at: At,
    first: bool,
    failed: bool,
}

/// Where in the stream the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    Line,
    /// Behind a CR: an LF belongs to the same line end.
    Return,
}

impl Parser {
    /// For events of up to `max_event` bytes, of what this payer asked for.
    pub fn new(max_event: usize, payer: Payer) -> Self {
        Self {
            max_event,
            chunk: Bytes::new(),
            begun: Vec::new(),
            held: Held::new(payer),
            at: At::LineStart,
            first: true,
            failed: false,
        }
    }

    /// Takes the next chunk. The events of the one before should have been taken: what was left is copied.
    pub fn feed(&mut self, chunk: &Bytes) {
        if self.failed {
            return;
        }
        // It is no more than it was.
        let _ = self.held.hold(self.begun.len());
        self.chunk = match self.chunk.is_empty() {
            true => chunk.clone(),
            false => [&*self.chunk, chunk].concat().into(),
        };
    }

    /// What follows the last whole event. At the end of the stream it is of no event; pass it on with the rest.
    pub fn remainder(&self) -> Bytes {
        match self.begun.is_empty() {
            true => self.chunk.clone(),
            false => [&*self.begun, &*self.chunk].concat().into(),
        }
    }

    /// Looks on to the end of the event: how many bytes of the chunk belong to it, if it ends there.
    fn scan(&mut self) -> Option<usize> {
        let mut next = 0;
        while let Some(byte) = self.chunk.get(next) {
            match (self.at, byte) {
                (At::Line, _) => {
                    next += memchr2(b'\n', b'\r', &self.chunk[next..])? + 1;
                    self.at = after_line_end(self.chunk[next - 1]);
                }
                (At::Return, b'\n') => {
                    next += 1;
                    self.at = At::LineStart;
                }
                (_, b'\n' | b'\r') => {
                    next += 1;
                    self.at = after_line_end(*byte);
                    // Where the chunk ends between CR and LF, the event is not held back for an LF that may never
                    // come: the LF then stands before the next event, where it means nothing.
                    if self.at == At::Return && self.chunk.get(next) == Some(&b'\n') {
                        next += 1;
                        self.at = At::LineStart;
                    }
                    return Some(next);
                }
                _ => self.at = At::Line,
            }
        }
        None
    }

    fn fail(&mut self) -> TooLarge {
        self.failed = true;
        self.chunk = Bytes::new();
        self.begun = Vec::new();
        let _ = self.held.hold(0);
        TooLarge { max: self.max_event }
    }
}

fn after_line_end(byte: u8) -> At {
    match byte {
        b'\r' => At::Return,
        _ => At::LineStart,
    }
}

impl Iterator for Parser {
    type Item = Result<Event, TooLarge>;

    /// The next event; `None`: feed more.
    fn next(&mut self) -> Option<Result<Event, TooLarge>> {
        if self.chunk.is_empty() {
            return None;
        }
        let end = self.scan();
        let part = self.chunk.split_to(end.unwrap_or(self.chunk.len()));
        let length = self.begun.len() + part.len();
        // What lies whole in one chunk is not gathered.
        let is_gathered = end.is_none() || !self.begun.is_empty();
        if length > self.max_event || is_gathered && !self.held.hold(length) {
            return Some(Err(self.fail()));
        }
        if end.is_none() {
            self.begun.extend_from_slice(&part);
            return None;
        }
        let raw = match self.begun.is_empty() {
            true => part,
            false => {
                self.begun.extend_from_slice(&part);
                mem::take(&mut self.begun).into()
            }
        };
        Some(Ok(read(raw, mem::take(&mut self.first))))
    }
}

/// Reads the fields of a block.
fn read(raw: Bytes, first: bool) -> Event {
    let start = match first && raw.starts_with(BYTE_ORDER_MARK) {
        true => BYTE_ORDER_MARK.len(),
        false => 0,
    };
    let mut data = Data::None;
    let (mut kind, mut id, mut retry) = (None, None, None);
    let mut next = start;
    while next < raw.len() {
        let end = memchr2(b'\n', b'\r', &raw[next..]).map_or(raw.len(), |length| next + length);
        let (name, value) = field(&raw, next..end);
        // Blank between CR and LF; a comment's name is empty too.
        match &raw[name] {
            b"data" => data.line(&raw, value),
            // It may have a NUL, which makes it another type than any that is known.
            b"event" => kind = Some(Line(raw.slice(value))),
            // With a NUL in it, it is ignored.
            b"id" => id = Line::new(raw.slice(value)).or(id),
            b"retry" => retry = digits(&raw[value]).or(retry),
            _ => {}
        }
        next = end + 1;
    }
    let data = data.join(&raw);
    Event {
        raw,
        data,
        kind,
        id,
        retry,
    }
}

/// Where the name and the value of the field in `line` are.
fn field(raw: &[u8], line: Range<usize>) -> (Range<usize>, Range<usize>) {
    let Some(length) = memchr::memchr(b':', &raw[line.clone()]) else {
        return (line.clone(), line.end..line.end);
    };
    let colon = line.start + length;
    let space = usize::from(raw[colon + 1..line.end].first() == Some(&b' '));
    (line.start..colon, colon + 1 + space..line.end)
}

/// A number of decimal digits and nothing else.
fn digits(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

/// The data lines of an event. One alone, which is the usual case, stays where it is.
enum Data {
    None,
    One(Range<usize>),
    Many(Vec<u8>),
}

impl Data {
    fn line(&mut self, raw: &[u8], line: Range<usize>) {
        match self {
            Self::None => *self = Self::One(line),
            Self::One(before) => *self = Self::Many([&raw[before.clone()], &raw[line]].join(&b'\n')),
            Self::Many(joined) => {
                joined.push(b'\n');
                joined.extend_from_slice(&raw[line]);
            }
        }
    }

    fn join(self, raw: &Bytes) -> Option<Bytes> {
        match self {
            Self::None => None,
            Self::One(line) => Some(raw.slice(line)),
            Self::Many(joined) => Some(joined.into()),
        }
    }
}

/// Writes an event. Line ends in `data` make several data lines, which the reader joins by LF: in JSON they can
/// only be white space.
pub fn event(data: &[u8], kind: Option<&Line>, id: Option<&Line>) -> Bytes {
    write(data, kind, id, None)
}

/// As [`event`], with the delay after which a client may connect again, in milliseconds.
pub fn event_with_retry(data: &[u8], kind: Option<&Line>, id: Option<&Line>, retry: Option<u64>) -> Bytes {
    write(data, kind, id, retry)
}

/// Writes an event that nobody notices, which keeps a connection from looking dead.
pub fn comment() -> Bytes {
    Bytes::from_static(b":\n\n")
}

fn write(data: &[u8], kind: Option<&Line>, id: Option<&Line>, retry: Option<u64>) -> Bytes {
    /// Room for the names of all fields and for a few line ends in the data.
    const NAMES: usize = 64;
    let text = |line: Option<&Line>| line.map_or(0, |line| line.0.len());
    let mut out = Vec::with_capacity(data.len() + text(kind) + text(id) + NAMES);
    let mut field = |name: &[u8], value: &[u8]| {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.push(b'\n');
    };
    if let Some(kind) = kind {
        field(b"event", &kind.0);
    }
    if let Some(id) = id {
        field(b"id", &id.0);
    }
    if let Some(retry) = retry {
        field(b"retry", retry.to_string().as_bytes());
    }
    let mut rest = data;
    while let Some(end) = memchr2(b'\n', b'\r', rest) {
        field(b"data", &rest[..end]);
        let length = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + length..];
    }
    field(b"data", rest);
    out.push(b'\n');
    out.into()
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;

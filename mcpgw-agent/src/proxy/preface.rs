//! Tells from the first bytes of a connection what is spoken on it.

use std::io;

use rustls::server::Acceptor;
use tokio::{net::TcpStream, time::sleep};

use super::limits::{MAX_CLIENT_HELLO, PREFACE_PAUSE};

/// What a client of HTTP/2 without TLS sends first.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How it begins; no other protocol's request does.
const METHOD_OF_PREFACE: &[u8] = b"PRI";
/// First byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// What the first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// The beginning of an HTTP/1 request, as far as can be seen.
    Http,
    /// A TLS ClientHello.
    Tls,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Something else.
    NotHttp,
    /// Nothing: the client closed the connection.
    End,
}

impl First {
    /// The word for it in metrics and in the audit log, if it is refused.
    pub(super) fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Http | Self::Http2 | Self::End => None,
            Self::Tls => Some("tls"),
            Self::NotHttp => Some("not_http"),
        }
    }
}

/// Whether [`classify`] can tell from these bytes, or nothing that comes could.
pub(super) fn is_enough(bytes: &[u8]) -> bool {
    // Only HTTP/2 begins so.
    let in_pieces = (1..HTTP2_PREFACE.len()).contains(&bytes.len()) && HTTP2_PREFACE.starts_with(bytes);
    !bytes.is_empty() && !in_pieces
}

/// Waits for the first bytes and leaves them where they are.
pub(super) async fn first(stream: &TcpStream) -> io::Result<First> {
    let mut bytes = [0; HTTP2_PREFACE.len()];
    let mut pause = PREFACE_PAUSE.0;
    loop {
        let length = stream.peek(&mut bytes).await?;
        // Only HTTP/2 begins so; what waits is not told from what has just come, so time passes.
        let in_pieces = (METHOD_OF_PREFACE.len()..HTTP2_PREFACE.len()).contains(&length);
        if !in_pieces || !HTTP2_PREFACE.starts_with(&bytes[..length]) {
            return Ok(classify(&bytes[..length]));
        }
        sleep(pause).await;
        pause = (pause * 2).min(PREFACE_PAUSE.1);
    }
}

/// Waits for a whole TLS ClientHello, leaves it where it is, and tells the name that it asks for; `None` where it
/// names none, or is no good.
pub(super) async fn server_name(stream: &TcpStream) -> io::Result<Option<String>> {
    let mut bytes = vec![0; MAX_CLIENT_HELLO];
    let mut pause = PREFACE_PAUSE.0;
    loop {
        let length = stream.peek(&mut bytes).await?;
        match name_in_hello(&bytes[..length]) {
            Hello::Begun if length > 0 => {}
            Hello::Begun => return Ok(None),
            Hello::Names(name) => return Ok(name),
        }
        sleep(pause).await;
        pause = (pause * 2).min(PREFACE_PAUSE.1);
    }
}

/// The beginning of a TLS connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// More must come of it.
    Begun,
    /// It asks for this name; `None` where it names none, or is no good.
    Names(Option<String>),
}

/// The name that a TLS ClientHello asks for.
pub(super) fn name_in_hello(bytes: &[u8]) -> Hello {
    let mut acceptor = Acceptor::default();
    let mut unread = bytes;
    while !unread.is_empty() {
        if acceptor.read_tls(&mut unread).is_err() {
            return Hello::Names(None);
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => return Hello::Names(accepted.client_hello().server_name().map(str::to_owned)),
            Err(_) => return Hello::Names(None),
        }
    }
    match bytes.len() >= MAX_CLIENT_HELLO {
        true => Hello::Names(None),
        false => Hello::Begun,
    }
}

/// Bytes that could still become a request are left to the HTTP parser, which says no in its turn.
pub(super) fn classify(bytes: &[u8]) -> First {
    match bytes.first() {
        None => return First::End,
        Some(&TLS_HANDSHAKE) => return First::Tls,
        // Blank lines before a request are allowed.
        Some(b'\r' | b'\n') => return First::Http,
        Some(_) => {}
    }
    if bytes.starts_with(HTTP2_PREFACE) {
        return First::Http2;
    }
    let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    let is_method = !method.is_empty() && method.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'-' | b'_'));
    if is_method { First::Http } else { First::NotHttp }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_protocol() {
        for (bytes, first) in [
            (&b"POST /mcp HTTP/1.1\r\n"[..], First::Http),
            (b"P", First::Http),
            (b"M-SEARCH * HTTP/1.1", First::Http),
            (b"\r\nGET /", First::Http),
            (b"PRI * HTTP/2.0", First::Http),
            (HTTP2_PREFACE, First::Http2),
            (b"\x16\x03\x01\x02\x00\x01", First::Tls),
            (b"SSH-2.0-OpenSSH_9.9\r\n", First::NotHttp),
            (b"hello world", First::NotHttp),
            (b"PING\r\n", First::NotHttp),
            (b" GET /", First::NotHttp),
            (b"\x00\x01", First::NotHttp),
            (b"", First::End),
        ] {
            assert_eq!(classify(bytes), first, "{}", bytes.escape_ascii());
        }
    }
}

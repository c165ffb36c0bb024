//! The copy of what a server answers, read by the rules of HTTP/1, an answer for each request.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::{Body, Frame};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::tap::Tap;
use crate::{
    proxy::limits::{MAX_HEADERS, MAX_UNREAD_ANSWERS, READ_BUFFER},
    shares::Payer,
    upstream::{BodyError, UpstreamBody},
};

/// The answers on one connection.
#[derive(Clone)]
pub(in crate::proxy) struct Answers(Arc<Mutex<Reading>>);

struct Reading {
    tap: Tap,
    bytes: BytesMut,
    /// How many of them were looked at for the end of a head or a line, which is not there: what comes in small pieces
    /// is not looked at again and again.
    searched: usize,
    /// What is left of the answer that was read last.
    left: Left,
    /// The requests whose answers were not read yet.
    asked: VecDeque<Asked>,
    gave_up: bool,
}

/// What must be known of a request to read its answer. A method is as long as its client likes, and is not kept.
#[derive(Clone, Copy)]
struct Asked {
    is_head: bool,
}

#[derive(Clone, Copy)]
enum Left {
    Nothing,
    Bytes(u64),
    /// Of a chunk; the end of its line comes behind it.
    Chunk(u64),
    ChunkSize,
    ChunkEnd,
    Trailers,
    /// Everything, to the end of the connection.
    All,
}

/// A status line with its headers cannot have more of these: a server may send more than a client.
const MAX_ANSWER_HEADERS: usize = 2 * MAX_HEADERS;

const LOST: BodyError = BodyError::Copy("comes after what was not read");
const BROKEN: BodyError = BodyError::Copy("ends in its midst");
const GARBLED: BodyError = BodyError::Copy("is no HTTP");

impl Answers {
    pub(super) fn new(tap: Tap) -> Self {
        Self(Arc::new(Mutex::new(Reading {
            tap,
            bytes: BytesMut::new(),
            searched: 0,
            left: Left::Nothing,
            asked: VecDeque::new(),
            gave_up: false,
        })))
    }

    /// A request begins; its answer comes behind those of the requests before. What has come of those, and was not
    /// read, is let go.
    pub(super) async fn expect(&self, method: &Method) {
        let mut reading = self.0.lock().await;
        // Why it cannot be read is said where an answer is wanted.
        let _ = reading.skip(0).now_or_never();
        if reading.asked.len() >= MAX_UNREAD_ANSWERS {
            reading.give_up();
        }
        if !reading.gave_up {
            reading.asked.push_back(Asked {
                is_head: *method == Method::HEAD,
            });
        }
    }

    /// The answer to the request that began last, which is this payer's.
    pub(in crate::proxy) async fn next(&self, payer: Payer) -> Result<Response<UpstreamBody>, BodyError> {
        let mut reading = Arc::clone(&self.0).lock_owned().await;
        if reading.gave_up {
            return Err(LOST);
        }
        if reading.asked.is_empty() {
            return Err(BodyError::Copy("was read already"));
        }
        reading.skip(1).await?;
        let head = reading.head().await?;
        let body = UpstreamBody::copied(Box::pin(Copied(reading)), payer);
        Ok(head.map(|()| body))
    }
}

impl Reading {
    /// Reads past answers that nobody wanted to read, until so many are left. Dropped in between, it has read as far as
    /// it has come.
    async fn skip(&mut self, left: usize) -> Result<(), BodyError> {
        loop {
            while let Some(chunk) = poll_fn(|cx| self.poll_chunk(cx)).await {
                chunk?;
            }
            if self.asked.len() <= left {
                return Ok(());
            }
            self.head().await?;
        }
    }

    /// The head of the next answer.
    async fn head(&mut self) -> Result<Response<()>, BodyError> {
        let head = self.next_head().await;
        if head.is_ok() {
            self.asked.pop_front();
        } else {
            self.give_up();
        }
        head
    }

    async fn next_head(&mut self) -> Result<Response<()>, BodyError> {
        let asked = self.asked.front().copied().ok_or(LOST)?;
        loop {
            if let Some(head) = self.parse_head()? {
                match head.status() {
                    StatusCode::SWITCHING_PROTOCOLS => return Err(BodyError::Copy("is another protocol's")),
                    status if status.is_informational() => continue,
                    status => {
                        self.left = framing(asked, status, head.headers())?;
                        return Ok(head);
                    }
                }
            }
            if self.bytes.len() > READ_BUFFER {
                return Err(GARBLED);
            }
            if !poll_fn(|cx| self.poll_more(cx)).await? {
                return Err(BROKEN);
            }
        }
    }

    /// Where an answer ends is not known any more, and so not where the next begins.
    fn give_up(&mut self) {
        self.gave_up = true;
        self.left = Left::Nothing;
        self.asked = VecDeque::new();
        self.bytes = BytesMut::new();
        self.searched = 0;
        self.tap.close();
    }

    /// The head of an answer, if it is there whole.
    fn parse_head(&mut self) -> Result<Option<Response<()>>, BodyError> {
        // Blank lines before it are none of it.
        while let Some(blank @ (b"\r\n" | [b'\n', ..])) = self.bytes.get(..2).or(self.bytes.get(..1)) {
            let length = if blank[0] == b'\n' { 1 } else { 2 };
            self.consume(length);
        }
        let is_end = |rest: &[u8]| rest.starts_with(b"\n\n") || rest.starts_with(b"\n\r\n");
        if !self.find(3, is_end) {
            return Ok(None);
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_ANSWER_HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        let length = match parsed.parse(&self.bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(GARBLED),
        };
        let mut head = Response::new(());
        *head.status_mut() = parsed
            .code
            .and_then(|code| StatusCode::from_u16(code).ok())
            .ok_or(GARBLED)?;
        for header in parsed.headers.iter() {
            let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| GARBLED)?;
            let value = HeaderValue::from_bytes(header.value).map_err(|_| GARBLED)?;
            head.headers_mut().append(name, value);
        }
        self.consume(length);
        Ok(Some(head))
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BodyError>> {
        let lost = |_| BodyError::Copy("is not whole");
        self.tap.poll_more(cx, &mut self.bytes).map_err(lost)
    }

    /// The next bytes of a body.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let step = match self.left {
                Left::Nothing => return Poll::Ready(None),
                Left::Bytes(0) => {
                    self.left = Left::Nothing;
                    continue;
                }
                Left::Chunk(0) => {
                    self.left = Left::ChunkEnd;
                    continue;
                }
                Left::Bytes(left) => self
                    .take(left)
                    .map(|chunk| (Left::Bytes(left - chunk.len() as u64), chunk)),
                Left::Chunk(left) => self
                    .take(left)
                    .map(|chunk| (Left::Chunk(left - chunk.len() as u64), chunk)),
                Left::All => self.take(u64::MAX).map(|chunk| (Left::All, chunk)),
                Left::ChunkSize | Left::ChunkEnd | Left::Trailers => match self.line() {
                    Ok(Some(next)) => {
                        self.left = next;
                        continue;
                    }
                    Ok(None) => None,
                    Err(error) => return self.fail(error),
                },
            };
            if let Some((left, chunk)) = step {
                self.left = left;
                return Poll::Ready(Some(Ok(chunk)));
            }
            match (ready!(self.poll_more(cx)), self.left) {
                (Ok(true), _) => {}
                (Ok(false), Left::All) => self.left = Left::Nothing,
                (Ok(false), _) => return self.fail(BROKEN),
                (Err(error), _) => return self.fail(error),
            }
        }
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.give_up();
        Poll::Ready(Some(Err(error)))
    }

    /// At most so many bytes, if there are any.
    fn take(&mut self, most: u64) -> Option<Bytes> {
        let length = self.bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        self.searched = 0;
        (length > 0).then(|| self.bytes.split_to(length).freeze())
    }

    /// Looks for an end of at most so many bytes, from where it was looked for last; where it is found, `searched` is
    /// its place.
    fn find(&mut self, length: usize, is_end: impl Fn(&[u8]) -> bool) -> bool {
        let found = (self.searched..self.bytes.len()).find(|at| is_end(&self.bytes[*at..]));
        // The beginning of one may be there.
        let begun = self.bytes.len().saturating_sub(length - 1);
        self.searched = found.unwrap_or(begun.max(self.searched));
        found.is_some()
    }

    /// Lets bytes go that were read.
    fn consume(&mut self, length: usize) {
        self.bytes.advance(length);
        self.searched = 0;
    }

    /// Reads a line between chunks, if it is there whole: what comes behind it.
    fn line(&mut self) -> Result<Option<Left>, BodyError> {
        if !self.find(2, |rest| rest.starts_with(b"\r\n")) {
            return if self.bytes.len() > READ_BUFFER {
                Err(GARBLED)
            } else {
                Ok(None)
            };
        }
        let end = self.searched;
        let next = match self.left {
            Left::ChunkEnd if end == 0 => Left::ChunkSize,
            Left::Trailers if end == 0 => Left::Nothing,
            Left::Trailers => Left::Trailers,
            Left::ChunkSize => match httparse::parse_chunk_size(&self.bytes[..end + 2]) {
                Ok(httparse::Status::Complete((_, 0))) => Left::Trailers,
                Ok(httparse::Status::Complete((_, size))) => Left::Chunk(size),
                _ => return Err(GARBLED),
            },
            _ => return Err(GARBLED),
        };
        self.consume(end + 2);
        Ok(Some(next))
    }
}

/// How long the body of an answer is.
fn framing(asked: Asked, status: StatusCode, headers: &HeaderMap) -> Result<Left, BodyError> {
    if asked.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Left::Nothing);
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if let Some(coding) = text(header::TRANSFER_ENCODING) {
        let last = coding.rsplit(',').next().unwrap_or_default();
        let chunked = last.trim().eq_ignore_ascii_case("chunked");
        return Ok(if chunked { Left::ChunkSize } else { Left::All });
    }
    match text(header::CONTENT_LENGTH) {
        Some(length) => length.trim().parse().map(Left::Bytes).map_err(|_| GARBLED),
        None => Ok(Left::All),
    }
}

/// The body of an answer.
struct Copied(OwnedMutexGuard<Reading>);

impl Body for Copied {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let chunk = ready!(self.0.poll_chunk(cx));
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use http_body_util::BodyExt;

    use super::*;

    /// What is read of these answers to these methods; an answer that is not asked for is read all the same.
    async fn read(bytes: &[u8], asked: &[(Method, bool)]) -> Vec<Result<(u16, String), String>> {
        let tap = Tap::new(&Arc::default());
        let answers = Answers::new(tap.clone());
        let feed = tokio::spawn({
            let bytes = bytes.to_vec();
            async move {
                for byte in bytes {
                    tap.push(&[byte]);
                    tokio::task::yield_now().await;
                }
                tap.end();
            }
        });
        let mut found = Vec::new();
        for (method, wanted) in asked {
            answers.expect(method).await;
            if *wanted {
                let answer = async {
                    let (head, body) = answers.next(Payer::Agent).await?.into_parts();
                    let body = body.collect().await?.to_bytes();
                    Ok((head.status.as_u16(), String::from_utf8_lossy(&body).into_owned()))
                };
                found.push(answer.await.map_err(|error: BodyError| error.to_string()));
            }
        }
        feed.await.unwrap();
        found
    }

    #[tokio::test]
    async fn answers_are_told_apart_by_every_rule_there_is() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nde\r\n1\r\nf\r\n0\r\na: b\r\n\r\n\
            HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n\
            HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlostHTTP/1.1 404 Not Found\r\n\r\nto the end";
        let wanted = |method: Method| (method, true);
        let asked = [
            wanted(Method::POST),
            wanted(Method::POST),
            wanted(Method::HEAD),
            wanted(Method::DELETE),
            (Method::POST, false),
            wanted(Method::GET),
        ];
        let expected = [(200, "abc"), (200, "def"), (200, ""), (204, ""), (404, "to the end")];
        let expected: Vec<_> = expected
            .iter()
            .map(|(status, body)| Ok((*status, (*body).to_owned())))
            .collect();
        assert_eq!(read(bytes, &asked).await, expected);
    }

    #[tokio::test]
    async fn lines_may_end_as_they_like_and_blank_ones_stand_before() {
        let bytes =
            b"\r\n\n\r\nHTTP/1.1 200 OK\ncontent-length: 3\n\nabc\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\n\r\nde";
        let asked = [(Method::POST, true), (Method::POST, true)];
        let expected = [Ok((200, "abc".to_owned())), Ok((200, "de".to_owned()))];
        assert_eq!(read(bytes, &asked).await, expected);
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error() {
        for bytes in [
            &b"hello world, this is no HTTP\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"",
        ] {
            let found = read(bytes, &[(Method::GET, true)]).await;
            assert!(found[0].is_err(), "{}: {found:?}", bytes.escape_ascii());
        }
    }

    const ANSWER: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnone";

    #[tokio::test]
    async fn answers_that_nobody_reads_are_let_go_as_they_come() {
        let held = Arc::default();
        let tap = Tap::new(&held);
        let answers = Answers::new(tap.clone());
        for _ in 0..2 * MAX_UNREAD_ANSWERS {
            answers.expect(&Method::GET).await;
            tap.push(ANSWER);
        }
        assert_eq!(held.load(Relaxed), ANSWER.len(), "all but the last");
        assert_eq!(answers.next(Payer::Agent).await.unwrap().status(), 404);
    }

    #[tokio::test]
    async fn too_many_requests_whose_answers_do_not_come_are_not_remembered() {
        let tap = Tap::new(&Arc::default());
        let answers = Answers::new(tap.clone());
        for _ in 0..=MAX_UNREAD_ANSWERS {
            answers.expect(&Method::GET).await;
        }
        assert!(answers.0.lock().await.asked.is_empty());
        tap.push(ANSWER);
        let error = answers.next(Payer::Agent).await.err().unwrap().to_string();
        assert!(error.contains("after what was not read"), "{error}");
    }
}

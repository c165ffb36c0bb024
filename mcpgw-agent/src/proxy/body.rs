//! Reads request bodies, within the bounds of one body and of one workload.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::StatusCode;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    limits::{BODY_TIMEOUT, MAX_BODIES_PER_WORKLOAD, MAX_BODY, READ_BUFFER},
    refused::Refused,
};

/// Memory is shared out in pieces of this many bytes.
const PIECE: usize = 1024;
/// A chunk that is kept as it came holds a whole read buffer: of that it must be this much at least.
const MIN_KEPT: usize = READ_BUFFER / 4;

/// Memory for the request bodies of one workload; clones share it.
#[derive(Clone)]
pub(super) struct BodyBudget(Arc<Semaphore>);

/// A body's share of that memory. It goes back when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Share(#[allow(dead_code, reason = "held for its Drop")] Option<OwnedSemaphorePermit>);

impl BodyBudget {
    /// All of it.
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_BODIES_PER_WORKLOAD / PIECE)))
    }

    /// Reads a whole body. Its memory counts until the share that comes with it is dropped.
    pub(super) async fn read<B: Body>(&self, body: B) -> Result<(Bytes, Share), Refused> {
        if body.size_hint().lower() > MAX_BODY as u64 {
            return Err(Refused::body_too_large());
        }
        // A body of unknown length may become as long as any.
        let length = body.size_hint().exact().map_or(MAX_BODY, |length| length as usize);
        let Ok(Ok(mut share)) = timeout(BODY_TIMEOUT, Arc::clone(&self.0).acquire_many_owned(pieces(length))).await
        else {
            let message = "Too many large requests of this workload are waiting for their answers";
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "bodies_exhausted", message).closing());
        };
        let body = match timeout(BODY_TIMEOUT, collect(body)).await {
            Ok(Ok(collected)) => collected,
            Ok(Err(Broken::TooLarge)) => return Err(Refused::body_too_large()),
            Ok(Err(Broken::Off)) => {
                let message = "The request body broke off";
                return Err(Refused::new(StatusCode::BAD_REQUEST, "body_incomplete", message).closing());
            }
            Err(_) => {
                let message = format!("The request body did not arrive within {} s", BODY_TIMEOUT.as_secs());
                return Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message).closing());
            }
        };
        drop(share.split(share.num_permits().saturating_sub(pieces(body.len()) as usize)));
        Ok((body, Share(Some(share))))
    }
}

/// Why a body is not whole.
enum Broken {
    TooLarge,
    Off,
}

/// Gathers a body in one piece of memory: a chunk of one byte must not cost more than a byte. A chunk that is the whole
/// body, and most of what is read at once, stays where it is.
async fn collect<B: Body>(body: B) -> Result<Bytes, Broken> {
    let mut body = std::pin::pin!(body);
    // Its share of the memory has been taken already.
    let length = body.size_hint().exact().unwrap_or_default();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame.map_err(|_| Broken::Off)?.into_data() else {
            continue;
        };
        if whole.len() + data.remaining() > MAX_BODY {
            return Err(Broken::TooLarge);
        }
        if whole.is_empty() && body.is_end_stream() && data.remaining() >= MIN_KEPT {
            return Ok(data.copy_to_bytes(data.remaining()));
        }
        if whole.is_empty() {
            whole.reserve(length.min(MAX_BODY as u64) as usize);
        }
        whole.put(data);
    }
    Ok(whole.freeze())
}

/// How many pieces hold this many bytes, of which there are no more than [`MAX_BODY`].
fn pieces(length: usize) -> u32 {
    length.div_ceil(PIECE) as u32
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, combinators::UnsyncBoxBody};

    use super::*;

    fn full(length: usize) -> Full<Bytes> {
        Full::new(vec![0; length].into())
    }

    /// A body that does not say how long it is.
    fn unknown(length: usize) -> UnsyncBoxBody<Bytes, std::convert::Infallible> {
        use futures_util::stream;
        let frame = http_body::Frame::data(Bytes::from(vec![0; length]));
        http_body_util::StreamBody::new(stream::iter([Ok(frame)])).boxed_unsync()
    }

    #[tokio::test]
    async fn a_large_body_in_one_chunk_stays_where_it_is_and_a_small_one_does_not() {
        for (length, kept) in [(MIN_KEPT, true), (MIN_KEPT - 1, false)] {
            let body = Bytes::from(vec![0; length]);
            let (read, _share) = BodyBudget::new().read(Full::new(body.clone())).await.unwrap();
            assert_eq!(read.as_ptr() == body.as_ptr(), kept);
            assert_eq!(read, body);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_of_a_workload_wait_for_each_other_and_not_for_ever() {
        let budget = BodyBudget::new();
        let mut shares = Vec::new();
        for _ in 0..MAX_BODIES_PER_WORKLOAD / MAX_BODY {
            shares.push(budget.read(full(MAX_BODY)).await.unwrap().1);
        }
        assert_eq!(budget.read(full(1)).await.unwrap_err().reason, "bodies_exhausted");
        shares.pop();
        assert_eq!(budget.read(full(MAX_BODY)).await.unwrap().0.len(), MAX_BODY);
    }

    #[tokio::test]
    async fn a_body_counts_for_what_it_turned_out_to_be() {
        let budget = BodyBudget::new();
        let whole = budget.0.available_permits();
        let (body, share) = budget.read(unknown(3 * PIECE - 1)).await.unwrap();
        assert_eq!((body.len(), whole - budget.0.available_permits()), (3 * PIECE - 1, 3));
        drop(share);
        assert_eq!(budget.0.available_permits(), whole);
    }

    #[tokio::test]
    async fn a_body_over_the_bound_is_refused_whether_it_says_so_or_not() {
        let budget = BodyBudget::new();
        assert_eq!(
            budget.read(full(MAX_BODY + 1)).await.unwrap_err().reason,
            "body_too_large"
        );
        assert_eq!(
            budget.read(unknown(MAX_BODY + 1)).await.unwrap_err().reason,
            "body_too_large"
        );
    }
}

//! Reads request bodies, within the bounds of one body and of what those share who send them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::StatusCode;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::{
    limits::{BODY_TIMEOUT, MAX_BODY, READ_BUFFER},
    refused::Refused,
};
use crate::shares::{self, Payer, Shares};

/// A chunk that is kept as it came holds a whole read buffer: of that it must be this much at least.
const MIN_KEPT: usize = READ_BUFFER / 4;

/// Memory for request bodies, in bytes; clones share it.
#[derive(Clone)]
pub(super) struct BodyBudget(Shares);

/// A body's share of that memory. It goes back when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Share(#[allow(dead_code, reason = "held for its Drop")] Option<shares::Share>);

impl BodyBudget {
    /// All of it, in which there is room for several bodies of each payer.
    pub(super) fn new(shares: Shares) -> Self {
        Self(shares)
    }

    /// How much of it is taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.0.taken()
    }

    /// Reads a whole body of this payer's. Its memory counts until the share that comes with it is dropped.
    pub(super) async fn read<B: Body>(&self, payer: Payer, body: B) -> Result<(Bytes, Share), Refused> {
        if body.size_hint().lower() > MAX_BODY as u64 {
            return Err(Refused::body_too_large());
        }
        // A body of unknown length may become as long as any.
        let length = body.size_hint().exact().map_or(MAX_BODY, |length| length as usize);
        let Ok(mut share) = timeout(BODY_TIMEOUT, self.0.wait(payer, length)).await else {
            let message = "Too many large requests are waiting for their answers";
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
        // One that became longer than it said would have been refused.
        let _shrunk = share.resize(body.len());
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

#[cfg(test)]
mod tests {
    use http_body_util::{Full, combinators::UnsyncBoxBody};

    use super::*;
    use crate::{mcp::seal::Owner, proxy::limits::MAX_BODIES_PER_WORKLOAD};

    const MINE: Payer = Payer::Agent;

    fn budget() -> BodyBudget {
        BodyBudget::new(Shares::new(MAX_BODIES_PER_WORKLOAD, MAX_BODIES_PER_WORKLOAD))
    }

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
            let (read, _share) = budget().read(MINE, Full::new(body.clone())).await.unwrap();
            assert_eq!(read.as_ptr() == body.as_ptr(), kept);
            assert_eq!(read, body);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_of_a_workload_wait_for_each_other_and_not_for_ever() {
        let budget = budget();
        let mut shares = Vec::new();
        for _ in 0..MAX_BODIES_PER_WORKLOAD / MAX_BODY {
            shares.push(budget.read(MINE, full(MAX_BODY)).await.unwrap().1);
        }
        assert_eq!(budget.read(MINE, full(1)).await.unwrap_err().reason, "bodies_exhausted");
        shares.pop();
        assert_eq!(budget.read(MINE, full(MAX_BODY)).await.unwrap().0.len(), MAX_BODY);
    }

    #[tokio::test]
    async fn a_body_counts_for_what_it_turned_out_to_be() {
        let budget = budget();
        let (body, share) = budget.read(MINE, unknown(3000)).await.unwrap();
        assert_eq!((body.len(), budget.taken()), (3000, 3000));
        drop(share);
        assert_eq!(budget.taken(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_its_share_waits_and_nobody_behind_it() {
        let budget = BodyBudget::new(Shares::new(4 * MAX_BODY, MAX_BODY));
        let (greedy, modest) = (Payer::Workload(Owner::of("a")), Payer::Workload(Owner::of("b")));
        let dripping = budget.read(greedy, full(MAX_BODY)).await.unwrap().1;
        let again = budget.read(greedy, full(1));
        tokio::pin!(again);
        assert!(futures_util::poll!(&mut again).is_pending());
        assert!(budget.read(modest, full(1)).await.is_ok());
        drop(dripping);
        assert!(again.await.is_ok());
    }

    #[tokio::test]
    async fn a_body_over_the_bound_is_refused_whether_it_says_so_or_not() {
        let budget = budget();
        assert_eq!(
            budget.read(MINE, full(MAX_BODY + 1)).await.unwrap_err().reason,
            "body_too_large"
        );
        assert_eq!(
            budget.read(MINE, unknown(MAX_BODY + 1)).await.unwrap_err().reason,
            "body_too_large"
        );
    }
}

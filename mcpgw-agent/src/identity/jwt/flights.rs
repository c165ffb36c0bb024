//! Questions about tokens that wait for an answer: whoever asks the same meanwhile waits for that one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};

use super::{Refusal, cache::Digest};

/// The audiences that a token is good for.
type Answer = Result<Vec<Arc<str>>, Refusal>;

type Flight = BoxFuture<'static, Answer>;

/// The questions that wait now. Each is asked on by any of those who wait for it, whoever of them leaves, and ends with
/// the last of them.
#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<Digest, WeakShared<Flight>>>>);

impl Flights {
    /// The answer to the question about this token; `ask` asks it, unless it is being asked already.
    pub(super) async fn join<F>(&self, token: Digest, ask: impl FnOnce() -> F) -> Answer
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        self.flight(token, ask).await
    }

    fn flight<F>(&self, token: Digest, ask: impl FnOnce() -> F) -> Shared<Flight>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let mut waiting = self.waiting();
        if let Some(begun) = waiting.get(&token).and_then(WeakShared::upgrade) {
            return begun;
        }
        let (asking, over) = (ask(), Over(self.clone(), token));
        let begun = async move {
            let _over = over;
            asking.await
        };
        let begun = begun.boxed().shared();
        if let Some(weak) = begun.downgrade() {
            waiting.insert(token, weak);
        }
        begun
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Digest, WeakShared<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a question from the table, answered or not.
struct Over(Flights, Digest);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.waiting().remove(&self.1);
    }
}

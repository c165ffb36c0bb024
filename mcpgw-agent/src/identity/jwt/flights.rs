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
pub(super) struct Flights(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    /// With the number of each.
    flights: HashMap<Digest, (u64, WeakShared<Flight>)>,
    next: u64,
}

impl Flights {
    /// The answer to the question about this token; `ask` asks it, unless it is being asked already.
    pub(super) fn join<F>(&self, token: Digest, ask: impl FnOnce() -> F) -> Shared<Flight>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let mut waiting = self.waiting();
        let begun = waiting.flights.get(&token).and_then(|(_, flight)| flight.upgrade());
        if let Some(begun) = begun {
            return begun;
        }
        let asking = ask();
        let number = waiting.next;
        waiting.next += 1;
        let over = Over {
            flights: self.clone(),
            token,
            number,
        };
        let begun = async move {
            let _over = over;
            asking.await
        };
        let begun = begun.boxed().shared();
        if let Some(weak) = begun.downgrade() {
            waiting.flights.insert(token, (number, weak));
        }
        begun
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a question from the table, answered or not; but not the next one about the same token, which may have begun
/// when nobody waited for this one any more.
struct Over {
    flights: Flights,
    token: Digest,
    number: u64,
}

impl Drop for Over {
    fn drop(&mut self) {
        let mut waiting = self.flights.waiting();
        let is_this = waiting
            .flights
            .get(&self.token)
            .is_some_and(|(number, _)| *number == self.number);
        if is_this {
            waiting.flights.remove(&self.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    /// Begins the next question when it is dropped.
    struct Next(Flights, Digest, Arc<Mutex<Option<Shared<Flight>>>>);

    impl Drop for Next {
        fn drop(&mut self) {
            let next = self.0.join(self.1, pending);
            *self.2.lock().unwrap() = Some(next);
        }
    }

    #[test]
    fn a_question_that_begins_while_the_last_one_about_the_same_token_ends_is_waited_for_by_all() {
        let (flights, token) = (Flights::default(), Digest::of("token"));
        let begun = Arc::default();
        let next = Next(flights.clone(), token, Arc::clone(&begun));
        let first = flights.join(token, || async move {
            let _next = next;
            pending().await
        });
        assert!(first.clone().now_or_never().is_none());
        drop(first);
        let second = begun.lock().unwrap().take().unwrap();
        let third = flights.join(token, || async { panic!("it is being asked already") });
        assert!(second.ptr_eq(&third));
        drop((second, third));
        assert!(flights.waiting().flights.is_empty(), "with the last who waits it ends");
    }
}

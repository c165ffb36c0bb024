//! An issuer in force: its keys, and who keeps them current.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, watch},
    task::AbortHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    IssuerStatus, Refusal,
    cache::Digest,
    claims::Checked,
    compact::Header,
    flights::Flights,
    keys::{Key, KeySet},
    limits::{
        MAX_REVIEWS, MIN_REFRESH_INTERVAL, REFRESH_INTERVAL, REVIEW_TIMEOUT, REVIEWS_AT_A_TIME, REVIEWS_PER_CALLER,
        UNKNOWN_KEY_WAIT,
    },
    now,
    review::{Asker, Question, ReviewError},
    source,
};
use crate::{
    changes::Changes,
    resources::{Issuer, KeySource, Review},
    shares::{Payer, Shares},
};

/// An issuer whose tokens are believed now.
pub(super) struct Trusted {
    pub(super) issuer: Arc<Issuer>,
    keys: ArcSwap<KeySet>,
    /// Seconds of Unix time until when the keys are good; 0: there are none yet.
    good_until: AtomicU64,
    /// Told when somebody needs keys that are not known.
    wanted: Notify,
    /// How often the keys have been asked for.
    asked: watch::Sender<u64>,
    progress: Mutex<Progress>,
    following: Mutex<Option<AbortHandle>>,
    /// Who asks about a token now.
    reviews: Semaphore,
    /// … for whom, or waits to ask,
    reviewed_for: Shares,
    /// with what,
    asker: Asker,
    /// and who waits for the same answer.
    flights: Flights,
}

/// What was tried.
#[derive(Default)]
struct Progress {
    /// It is being asked, or soon will be.
    asking: bool,
    ended: Option<Instant>,
    read: Option<Instant>,
    good: u64,
    failed: u64,
    error: Option<String>,
}

impl Progress {
    /// Notes how it went to ask an issuer `about` something, and logs it where that is news.
    fn note(&mut self, issuer: &str, about: &'static str, trouble: Option<String>) {
        match &trouble {
            None => {
                self.good += 1;
                self.read = Some(Instant::now());
                if self.error.is_some() {
                    tracing::info!(issuer, about, "an issuer can be asked again");
                }
            }
            Some(error) => {
                self.failed += 1;
                if self.error.as_ref() != Some(error) {
                    tracing::warn!(issuer, about, error, "an issuer cannot be asked");
                }
            }
        }
        self.error = trouble;
    }
}

impl Trusted {
    /// Begins to keep the keys current, on `runtime`; `before`: with the last good keys of this one, where they are
    /// those of the same issuer at the same place. So they outlast a change of what they verify, also while the issuer
    /// cannot be asked.
    pub(super) fn begin(issuer: &Arc<Issuer>, before: Option<&Self>, runtime: &Handle) -> Arc<Self> {
        let kept = before.and_then(|before| before.kept_for(issuer));
        let (keys, good_until, read) = kept.unwrap_or_default();
        let is_asked = matches!(issuer.keys, KeySource::Review(_));
        // It has no keys that could be too old.
        let good_until = if is_asked { u64::MAX } else { good_until };
        let trusted = Arc::new(Self {
            issuer: Arc::clone(issuer),
            keys: ArcSwap::from_pointee(keys),
            good_until: AtomicU64::new(good_until),
            wanted: Notify::new(),
            asked: watch::Sender::new(0),
            progress: Mutex::new(Progress {
                asking: true,
                read,
                ..Progress::default()
            }),
            following: Mutex::default(),
            reviews: Semaphore::new(REVIEWS_AT_A_TIME),
            reviewed_for: Shares::new(MAX_REVIEWS, REVIEWS_PER_CALLER),
            asker: Asker::default(),
            flights: Flights::default(),
        });
        if is_asked {
            return trusted;
        }
        let task = runtime.spawn(follow(Arc::downgrade(&trusted), Arc::clone(issuer)));
        *trusted.following.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
        trusted
    }

    /// The last good keys, until when they are good, and when they were read, for the issuer as it is wanted now;
    /// `None` where they may be others.
    fn kept_for(&self, wanted: &Issuer) -> Option<(KeySet, u64, Option<Instant>)> {
        // What is shown there may make a difference to what is answered, too.
        let place = |issuer: &Issuer| {
            let asked = (issuer.keys.clone(), issuer.key_token.clone());
            (issuer.issuer.clone(), asked, issuer.authorities.clone())
        };
        let until = self.good_until.load(Ordering::Acquire);
        if until == 0 || place(&self.issuer) != place(wanted) {
            return None;
        }
        // From when they were read, and not from now.
        let read_at = until.saturating_sub(self.issuer.max_key_age.as_secs());
        let until = read_at.saturating_add(wanted.max_key_age.as_secs());
        Some((self.keys.load().anew(), until, self.progress().read))
    }

    /// Whether what its keys verified may still be believed.
    pub(super) fn check_age(&self, now: u64) -> Result<(), Refusal> {
        match self.good_until.load(Ordering::Acquire) {
            0 => Err(Refusal::NoKeys),
            until if now >= until => Err(Refusal::KeysTooOld),
            _ => Ok(()),
        }
    }

    /// The key that a header asks for. One that is not known is asked for, once for all who wait for it, and not
    /// more often than [`MIN_REFRESH_INTERVAL`]: who comes too soon waits for that too, because keys change in the
    /// midst of calls.
    pub(super) async fn key(&self, header: &Header) -> Result<Arc<Key>, Refusal> {
        let find = || {
            self.check_age(now())?;
            self.keys.load().find(header.key.as_deref(), header.algorithm).cloned()
        };
        let again = match find() {
            Err(Refusal::UnknownKey) => true,
            // Once: a dead issuer must not let every call wait.
            Err(Refusal::NoKeys) => self.progress().ended.is_none(),
            found => return found,
        };
        if again {
            self.asked_again().await;
        }
        find()
    }

    /// Asks the issuer about a token that claims this, once for all who show it meanwhile: the audiences that it is
    /// good for. It is the first of them who pays, whoever that claims to be: tokens can be made up.
    pub(super) async fn review(
        self: &Arc<Self>,
        payer: Payer,
        review: &Review,
        token: &str,
        checked: &Checked,
    ) -> Result<Vec<Arc<str>>, Refusal> {
        let ask = || {
            let (this, review) = (Arc::clone(self), review.clone());
            let question = Question::new(token, checked);
            async move {
                let place = timeout(REVIEW_TIMEOUT, this.reviewed_for.wait(payer, 1)).await;
                let _place = place.map_err(|_| Refusal::ReviewsTaken)?;
                this.ask_about(&review, question).await
            }
        };
        self.flights.join(Digest::of(token), ask).await
    }

    async fn ask_about(&self, review: &Review, question: Question) -> Result<Vec<Arc<str>>, Refusal> {
        let asked = timeout(REVIEW_TIMEOUT, async {
            let _place = self.reviews.acquire().await;
            self.asker.ask(&self.issuer, review, &question).await
        });
        let found = asked.await.unwrap_or(Err(ReviewError::Late(REVIEW_TIMEOUT)));
        let trouble = match &found {
            Ok(_) | Err(ReviewError::Denied | ReviewError::Audience) => None,
            Err(error) => Some(error.to_string()),
        };
        self.progress().note(&self.issuer.issuer, "tokens", trouble);
        found.map_err(|error| match error {
            ReviewError::Denied => Refusal::Denied,
            ReviewError::Audience => Refusal::Audience,
            _ => Refusal::NoReview,
        })
    }

    /// Waits until the keys have been asked for once more.
    async fn asked_again(&self) {
        let mut asked = self.asked.subscribe();
        {
            let mut progress = self.progress();
            if !progress.asking {
                progress.asking = true;
                self.wanted.notify_one();
            }
        }
        // Whoever waits too long, or where nobody asks any more, is refused for the key that is not there.
        let _ = timeout(UNKNOWN_KEY_WAIT, asked.changed()).await;
    }

    /// Asks once, and takes over what comes.
    async fn ask(&self) {
        self.progress().asking = true;
        let read = source::read(&self.issuer).await;
        let trouble = match read {
            Ok(keys) => {
                let before = self.keys.load_full();
                self.keys.store(Arc::new(keys.succeed(&before)));
                let until = now().saturating_add(self.issuer.max_key_age.as_secs());
                self.good_until.store(until, Ordering::Release);
                None
            }
            Err(error) => Some(error.to_string()),
        };
        let mut progress = self.progress();
        progress.note(&self.issuer.issuer, "its keys", trouble);
        progress.asking = false;
        progress.ended = Some(Instant::now());
        drop(progress);
        self.asked.send_modify(|asked| *asked += 1);
    }

    /// How long to wait until the keys are asked for again, if nobody needs them before.
    fn pause(&self) -> Duration {
        match self.progress().error {
            Some(_) => MIN_REFRESH_INTERVAL,
            // Twice before they are too old, so that one failure does no harm.
            None => REFRESH_INTERVAL.min(self.issuer.max_key_age / 3),
        }
    }

    /// Waits until the keys may be asked for again, whoever wants it.
    async fn interval(&self) {
        let ended = self.progress().ended;
        if let Some(ended) = ended {
            sleep_until(ended + MIN_REFRESH_INTERVAL).await;
        }
    }

    /// What it was verified with is believed no more.
    pub(super) fn retire(&self) {
        self.keys.load().withdraw();
        self.good_until.store(0, Ordering::Release);
    }

    /// Its keys stay what they are.
    pub(super) fn set_aside(&self) {
        if let Some(task) = self.following.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }

    pub(super) fn status(&self) -> IssuerStatus {
        let keys = self.keys.load();
        let progress = self.progress();
        let state = match (self.check_age(now()), &self.issuer.keys, &progress.error) {
            (Err(Refusal::KeysTooOld), ..) => "KeysTooOld",
            (Err(_), ..) => "NoKeys",
            (Ok(()), KeySource::Review(_), Some(_)) => "ReviewFails",
            (Ok(()), ..) => "Ready",
        };
        IssuerStatus {
            issuer: self.issuer.issuer.to_string(),
            keys: keys.len(),
            unusable_keys: keys.unusable,
            age_seconds: progress.read.map(|read| read.elapsed().as_secs()),
            max_age_seconds: self.issuer.max_key_age.as_secs(),
            state: state.to_owned(),
            error: progress.error.clone(),
            reads: progress.good,
            failed_reads: progress.failed,
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps an issuer's keys current until it is gone.
async fn follow(trusted: Weak<Trusted>, issuer: Arc<Issuer>) {
    let mut changes = match &issuer.keys {
        KeySource::File(path) => Some(Changes::of(path.parent().unwrap_or(Path::new("/")).to_owned())),
        KeySource::Url(_) | KeySource::Discovery | KeySource::Review(_) => None,
    };
    loop {
        let Some(trusted) = trusted.upgrade() else { return };
        trusted.ask().await;
        let pause = trusted.pause();
        let changed = async {
            match &mut changes {
                Some(changes) => changes.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = async {
                trusted.wanted.notified().await;
                trusted.interval().await;
            } => {}
            () = changed => {}
        }
    }
}

//! Many clients at once, in both eras, who call, stream, are asked, hear of changes, go away and come back, for a time.
//! Every call carries a nonce that its answer must carry, too. Prints one line of JSON.
//!
//! They speak HTTP themselves: SDKs wait for ever on some streams that broke, and what is lost is to be told apart
//! from what a client gave up.
//!
//! ```text
//! main    the clients' lives, and the report
//! session one client at one server: opens, calls, answers, ends
//! hear    … listens, and hears of the change that it causes
//! target  which server, and what it can be asked
//! wire    one HTTP exchange, and the messages of its answer
//! ```

mod hear;
mod session;
mod target;
mod wire;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use clap::Parser;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use session::{Outcome, Session};
use target::Target;

/// An answer that takes longer than this is lost.
const LOST: Duration = Duration::from_secs(60);
/// After an error, so that a server that is away is not asked without end.
const PAUSE: Duration = Duration::from_millis(50);
/// Wrong answers that are told in full.
const MAX_TOLD: usize = 10;

#[derive(Parser)]
struct Arguments {
    /// A server, as [`Target::parse`] reads it.
    #[arg(required = true, value_parser = Target::parse)]
    targets: Vec<Target>,
    #[arg(long)]
    clients: usize,
    #[arg(long)]
    seconds: u64,
}

/// What all clients together have seen.
#[derive(Default, Serialize)]
struct Report {
    /// Calls with the right answer.
    calls: u64,
    /// Those among them that streamed.
    streams: u64,
    /// Those among them in which the client was asked back.
    questions: u64,
    /// Changes that were heard of.
    heard: u64,
    /// Times that a client opened.
    connections: u64,
    /// Answers that neither came nor were refused.
    lost: Vec<String>,
    /// Answers that were another's.
    wrong: Vec<String>,
    /// Errors, by kind.
    errors: BTreeMap<String, u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (targets, report) = (Arc::new(arguments.targets), Arc::new(Mutex::new(Report::default())));
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let clients: Vec<_> = (0..arguments.clients)
        .map(|number| tokio::spawn(live(number, Arc::clone(&targets), Arc::clone(&report), end)))
        .collect();
    for client in clients {
        client.await?;
    }
    println!("{}", json!(*report.lock().unwrap_or_else(PoisonError::into_inner)));
    Ok(())
}

impl Report {
    fn note(&mut self, what: &str, outcome: Outcome) {
        let told = |list: &mut Vec<String>, text: String| {
            if list.len() < MAX_TOLD {
                list.push(text);
            }
        };
        match outcome {
            Outcome::Opened => self.connections += 1,
            Outcome::Right { steps, asked } => {
                self.calls += 1;
                self.streams += u64::from(steps > 0);
                self.questions += u64::from(asked);
            }
            Outcome::Heard => self.heard += 1,
            Outcome::Error(kind) => *self.errors.entry(kind).or_default() += 1,
            Outcome::Wrong(why) => told(&mut self.wrong, format!("{what}: {why}")),
            Outcome::Lost(why) => told(&mut self.lost, format!("{what}: {why}")),
        }
    }
}

/// One client's life: it opens, calls for a while, goes away in one way or another, and opens elsewhere.
async fn live(number: usize, targets: Arc<Vec<Target>>, report: Arc<Mutex<Report>>, end: Instant) {
    let mut round = 0;
    while Instant::now() < end {
        round += 1;
        let target = &targets[(number + round) % targets.len()];
        let modern = target.speaks((number + round / targets.len()).is_multiple_of(2));
        let what = |call: &str| {
            let era = if modern { "modern" } else { "legacy" };
            format!("{call} at {target}, {era}")
        };
        // Notes an outcome; whether the client goes on.
        let note = |call: &str, outcome: Result<Outcome, tokio::time::error::Elapsed>| {
            let outcome = outcome.unwrap_or_else(|_| Outcome::Lost("nothing came".to_owned()));
            let good = matches!(outcome, Outcome::Opened | Outcome::Right { .. } | Outcome::Heard);
            report
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .note(&what(call), outcome);
            good
        };
        let mut session = Session::new(target, modern);
        if !note("open", timeout(LOST, session.open()).await) {
            sleep(PAUSE).await;
            continue;
        }
        for call in 0..(5 + number % 20) {
            let nonce = format!("{number}-{round}-{call}");
            if call == 2
                && !target.uri.is_empty()
                && !note(&nonce, timeout(LOST, session.hear(&format!("{nonce}-hear"))).await)
            {
                sleep(PAUSE).await;
                break;
            }
            if !note(&nonce, timeout(LOST, session.call(call, &nonce)).await) {
                sleep(PAUSE).await;
                break;
            }
            if Instant::now() > end {
                break;
            }
        }
        // Every third time it is gone without a word.
        if !round.is_multiple_of(3) {
            drop(timeout(LOST, session.end()).await);
        }
    }
}

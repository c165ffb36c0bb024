//! What we say ourselves on the one stream of an HTTP+SSE session, where its client waits for every answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{limits::MAX_SAID, pending::StreamKey};

/// The open streams of HTTP+SSE sessions.
#[derive(Default)]
pub(super) struct Voices(Mutex<HashMap<StreamKey, mpsc::Sender<Bytes>>>);

impl Voices {
    /// For the stream with this key, until it is dropped.
    pub(super) fn open(self: &Arc<Self>, key: StreamKey) -> Voice {
        let (sender, events) = mpsc::channel(MAX_SAID);
        self.lock().insert(key, sender);
        Voice {
            voices: Arc::clone(self),
            key,
            events,
        }
    }

    /// Puts whole events on a stream; `false` if it has ended, or its client does not read.
    pub(super) fn say(&self, key: &StreamKey, events: Bytes) -> bool {
        let sender = self.lock().get(key).cloned();
        sender.is_some_and(|sender| sender.try_send(events).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamKey, mpsc::Sender<Bytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be said on one stream.
pub(super) struct Voice {
    voices: Arc<Voices>,
    key: StreamKey,
    events: mpsc::Receiver<Bytes>,
}

impl Voice {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.events.poll_recv(cx)
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.voices.lock().remove(&self.key);
    }
}

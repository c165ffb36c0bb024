//! Tokens that were opened before: a client shows its session with every request, and deciphering it each time is a
//! good part of what a call costs.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Keys, Sealer,
    token::{Owner, Token, TokenError},
};

/// Tokens that are remembered at most: one for each slot, where the last one stays.
const SLOTS: usize = 1024;
/// Longest text of a token that is remembered, in bytes.
const MAX_TEXT: usize = 1024;

/// Remembers what tokens held. What it says is what opening them would say: the text is compared whole, the keys
/// must still be those in force, and whose it is and how old is looked at each time.
#[derive(Debug)]
pub struct Memo<T> {
    slots: Box<[Mutex<Option<Known<T>>>]>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Known<T> {
    text: Box<str>,
    keys: Arc<Keys>,
    token: Arc<T>,
}

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl<T: Token> Memo<T> {
    /// As [`Token::open`].
    pub fn open(&self, sealer: &Sealer, text: &str, owner: Owner, now: u64) -> Result<Arc<T>, TokenError> {
        let slot = usize::try_from(self.hasher.hash_one(text) % SLOTS as u64).unwrap_or_default();
        let slot = || self.slots[slot].lock().unwrap_or_else(PoisonError::into_inner);
        let keys = sealer.keys();
        let known = slot()
            .as_ref()
            .filter(|known| *known.text == *text && Arc::ptr_eq(&known.keys, &keys))
            .map(|known| Arc::clone(&known.token));
        if let Some(token) = known {
            token.check(owner, now)?;
            return Ok(token);
        }
        let token = Arc::new(T::open(sealer, text, owner, now)?);
        if text.len() > MAX_TEXT {
            return Ok(token);
        }
        *slot() = Some(Known {
            text: text.into(),
            keys,
            token: Arc::clone(&token),
        });
        Ok(token)
    }
}

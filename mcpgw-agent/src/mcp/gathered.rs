//! A body that is gathered to be read as a whole.

use bytes::{Bytes, BytesMut};

use super::held::Held;
use crate::shares::Payer;

/// The bytes of a body, up to a bound. What comes whole in one chunk is not copied.
pub struct Gathered {
    max: usize,
    payer: Payer,
    bytes: Chunks,
}

enum Chunks {
    /// One, as it came.
    One(Bytes),
    /// Several, joined: as slices, chunks of a byte each would take more than thirty times their size.
    Many(BytesMut, Held),
}

impl Gathered {
    /// None yet, of at most `max`, for what this payer asked for.
    pub fn new(max: usize, payer: Payer) -> Self {
        Self {
            max,
            payer,
            bytes: Chunks::One(Bytes::new()),
        }
    }

    /// Adds a chunk.
    ///
    /// # Errors
    /// Nothing is added: it would become too large, or there is no room.
    pub fn push(&mut self, chunk: &Bytes) -> Result<(), Full> {
        let length = self.bytes().len() + chunk.len();
        if length > self.max {
            return Err(Full::TooLarge);
        }
        match &mut self.bytes {
            Chunks::One(one) if one.is_empty() => *one = chunk.clone(),
            Chunks::One(one) => {
                let mut held = Held::new(self.payer);
                if !held.hold(length) {
                    return Err(Full::NoRoom);
                }
                let mut many = BytesMut::with_capacity(length);
                many.extend_from_slice(one);
                many.extend_from_slice(chunk);
                self.bytes = Chunks::Many(many, held);
            }
            Chunks::Many(many, held) => {
                if !held.hold(length) {
                    return Err(Full::NoRoom);
                }
                many.extend_from_slice(chunk);
            }
        }
        Ok(())
    }

    /// What there is.
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Chunks::One(one) => one,
            Chunks::Many(many, _) => many,
        }
    }

    /// The same, and nothing is left. It counts for as long as this is there.
    pub fn take(&mut self) -> Bytes {
        match &mut self.bytes {
            Chunks::One(one) => std::mem::take(one),
            Chunks::Many(many, _) => many.split().freeze(),
        }
    }

    /// The same; it counts until nobody has it any more.
    pub fn keep(self) -> Bytes {
        match self.bytes {
            Chunks::One(one) => one,
            Chunks::Many(many, mut held) => held.keep(many.freeze()),
        }
    }
}

/// Why no more is gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// It would be larger than is wanted.
    TooLarge,
    /// What is large has all the memory that there is for that.
    NoRoom,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 256 * 1024;

    #[test]
    fn one_chunk_is_not_copied_and_chunks_of_a_byte_each_are_kept_in_one_buffer() {
        let chunk = Bytes::from_static(b"whole");
        let mut gathered = Gathered::new(MAX, Payer::Agent);
        assert_eq!(gathered.push(&chunk), Ok(()));
        assert_eq!(gathered.take().as_ptr(), chunk.as_ptr());
        let byte = Bytes::from_static(b"x");
        assert!((0..MAX).all(|_| gathered.push(&byte).is_ok()));
        assert_eq!(gathered.push(&byte), Err(Full::TooLarge));
        assert!(matches!(&gathered.bytes, Chunks::Many(many, _) if many.capacity() <= 2 * MAX));
        assert_eq!(gathered.take().len(), MAX);
        assert!(gathered.bytes().is_empty());
    }
}

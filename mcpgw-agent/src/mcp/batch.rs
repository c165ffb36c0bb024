//! Several messages in one body, as revision 2025-03-26 has them, and no other.
//!
//! Each is decided for itself. Elsewhere a batch is refused: real servers execute every message of an array whatever
//! revision was agreed on, so that none may pass unread.

use super::{
    envelope::{EnvelopeError, Refused},
    scan::Scanner,
};

/// Messages of one batch.
pub const MAX_BATCH: usize = 64;

/// Cuts a batch into its messages, as they were written. It is refused as a whole where it is no JSON, empty or too
/// long.
pub fn split(body: &[u8]) -> Result<Vec<&[u8]>, Refused<'_>> {
    read(body).map_err(|error| Refused { error, id: None })
}

fn read(body: &[u8]) -> Result<Vec<&[u8]>, EnvelopeError> {
    let mut scanner = Scanner::new(body)?;
    let mut elements = Vec::new();
    scanner.elements(|scanner| {
        if elements.len() == MAX_BATCH {
            return Err(EnvelopeError::LargeBatch(MAX_BATCH));
        }
        elements.push(scanner.skip()?.get().as_bytes());
        Ok(())
    })?;
    scanner.end()?;
    match elements.is_empty() {
        true => Err(EnvelopeError::EmptyBatch),
        false => Ok(elements),
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;

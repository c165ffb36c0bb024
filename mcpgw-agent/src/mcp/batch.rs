//! Several messages in one body, as revision 2025-03-26 has them.

use serde_json::value::RawValue;

use super::envelope::{EnvelopeError, Refused};

/// Messages of one batch.
pub const MAX_BATCH: usize = 64;

/// Cuts a batch into its messages, as they were written.
pub fn split(body: &[u8]) -> Result<Vec<&[u8]>, Refused<'_>> {
    let refuse = |error| Refused { error, id: None };
    let elements: Vec<&RawValue> =
        serde_json::from_slice(body).map_err(|error| refuse(EnvelopeError::Syntax(error.to_string())))?;
    match elements.len() {
        0 => Err(refuse(EnvelopeError::EmptyBatch)),
        1..=MAX_BATCH => Ok(elements.iter().map(|element| element.get().as_bytes()).collect()),
        _ => Err(refuse(EnvelopeError::LargeBatch)),
    }
}

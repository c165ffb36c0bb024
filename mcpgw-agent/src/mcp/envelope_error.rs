//! Why a body is refused.

use super::{error::code, scan::Fault};

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It is no JSON, not UTF-8, nested too deeply, or has bytes after its end.
    #[error("Parse error: {0}")]
    Syntax(#[from] Fault),
    /// It is an array, where no batch is accepted.
    #[error("Invalid request: JSON-RPC batches are not supported")]
    Batch,
    /// It is a batch without messages.
    #[error("Invalid request: an empty JSON-RPC batch")]
    EmptyBatch,
    /// It is a batch of more messages than this.
    #[error("Invalid request: a JSON-RPC batch of more than {0} messages")]
    LargeBatch(usize),
    /// It is neither object nor array.
    #[error("Invalid request: a JSON-RPC message is an object")]
    NotAnObject,
    /// A key occurs twice; the word is `message`, `params` or the like.
    #[error("Invalid request: duplicate key in {0}")]
    DuplicateKey(&'static str),
    /// A key differs from a known one by its case only, so that some parsers take one for the other.
    #[error("Invalid request: a key in {0} differs from a known one by its case only")]
    AmbiguousKey(&'static str),
    /// `jsonrpc` is missing or not `"2.0"`.
    #[error("Invalid request: `jsonrpc` must be \"2.0\"")]
    Version,
    /// `method` is not a string.
    #[error("Invalid request: `method` must be a string")]
    Method,
    /// `id` is not a string, a number or null.
    #[error("Invalid request: `id` must be a string, a number or null")]
    Id,
    /// The message has a method and a result or error, or none of them.
    #[error("Invalid request: a message has either a method or a result or an error")]
    Shape,
    /// `params` or `params._meta`, whichever it names, is no object.
    #[error("Invalid params: `{0}` must be an object")]
    Params(&'static str),
    /// This method needs this member, a string.
    #[error("Invalid params: {0} needs a string `{1}`")]
    Subject(&'static str, &'static str),
    /// This member is longer than so many bytes.
    #[error("Invalid params: `{0}` is longer than {1} bytes")]
    TooLong(&'static str, usize),
}

impl EnvelopeError {
    /// The JSON-RPC error code.
    pub fn code(&self) -> i64 {
        match self {
            Self::Syntax(_) => code::PARSE_ERROR,
            Self::Params(_) | Self::Subject(..) | Self::TooLong(..) => code::INVALID_PARAMS,
            _ => code::INVALID_REQUEST,
        }
    }

    /// The word for it in metrics and in the audit line.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "invalid_json",
            Self::Batch | Self::EmptyBatch | Self::LargeBatch(_) => "batch",
            Self::DuplicateKey(_) => "duplicate_key",
            Self::AmbiguousKey(_) => "ambiguous_key",
            Self::TooLong(..) => "too_long",
            Self::NotAnObject
            | Self::Version
            | Self::Method
            | Self::Id
            | Self::Shape
            | Self::Params(_)
            | Self::Subject(..) => "invalid_envelope",
        }
    }
}

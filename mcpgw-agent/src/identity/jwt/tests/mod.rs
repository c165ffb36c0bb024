//! Tokens, with real keys.

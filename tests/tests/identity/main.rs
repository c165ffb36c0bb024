//! Who calls: tokens of a real issuer, on real sockets.

mod issuer;
mod tokens;

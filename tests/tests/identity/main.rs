//! Who calls: tokens of a real issuer, on real sockets.

mod credentials;
mod issuer;
mod tokens;

//! Who calls: tokens of a real issuer, on real sockets.

mod credentials;
mod exchange;
mod issuer;
mod service_accounts;
mod tokens;
mod witnesses;

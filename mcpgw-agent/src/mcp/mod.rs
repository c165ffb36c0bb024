//! MCP as bytes: what must be known about a message to govern it, and no more. No I/O, no policy.
//!
//! ```text
//! envelope  who asks for what: JSON-RPC method, id and tool, read strictly and in place
//! members   keys of an object: decoded, never twice
//! headers   what the HTTP headers claim about the body, compared with the body
//! error     JSON-RPC errors that clients show
//! sse       event streams, cut into events and written
//! message   a look at what a server sends: what it is, and where the parts lie that are rewritten
//! seal      what leaves us and comes back: sealed session ids, cursors, ids of requests and tasks
//! answer    looks on while an answer streams by: result, tool error, questions or error
//! ```

pub mod answer;
pub mod batch;
pub mod envelope;
pub mod error;
pub mod headers;
mod locate;
mod members;
pub mod message;
pub mod method;
pub mod modern;
mod param_headers;
pub mod seal;
pub mod splice;
pub mod sse;
pub mod version;

pub use answer::{Answer, AnswerObserver};
pub use envelope::{Envelope, EnvelopeError, Kind};

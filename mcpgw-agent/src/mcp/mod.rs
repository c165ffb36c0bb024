//! MCP as bytes: what must be known about a message to govern it, and no more. No I/O, no policy.
//!
//! ```text
//! scan      JSON text, read strictly and in place
//! part      values in a body, and where in the body they are
//! members   keys of an object: decoded, never twice
//! envelope  who asks for what: JSON-RPC method, id and parameters (params), or why not (envelope_error)
//! method    the methods of all revisions
//! version   the revisions, and the two eras
//! headers   what the HTTP headers claim about the body, compared with the body
//! modern    the checks of modern requests, in their order; of arguments in headers (param_headers)
//! batch     several messages in one body
//! splice    other bytes in a few places of a body
//! error     JSON-RPC errors that clients show
//! sse       event streams, cut into events and written
//! held      memory for what must be gathered, one bound for all
//! gathered  a body, gathered to be read as a whole
//! media     whether something is an event stream, and whether a client reads one
//! governed  which requests are for rules to decide, and what they are about
//! level     how grave what a server logs is
//! list      the elements of a list in an answer
//! message   a look at what a server sends: what it is, and where the parts lie that are rewritten
//! seal      what leaves us and comes back: sealed session ids, cursors, ids of requests and tasks
//! annotations  what a server says of its tools, and how much of it is believed
//! definition   what a tool is, in canonical form, and its digest
//! answer    looks on while an answer streams by: result, tool error, questions or error
//! ```

pub mod annotations;
pub mod answer;
pub mod batch;
pub mod definition;
pub mod envelope;
mod envelope_error;
pub mod error;
pub mod gathered;
pub mod governed;
pub mod headers;
pub mod held;
pub mod level;
pub mod list;
pub mod media;
pub(crate) mod members;
pub mod message;
pub mod method;
pub mod modern;
mod param_headers;
pub mod params;
pub mod part;
pub(crate) mod scan;
pub mod seal;
pub mod splice;
pub mod sse;
pub mod version;

pub use answer::{Answer, AnswerObserver};
pub use envelope::{Envelope, EnvelopeError, Kind};

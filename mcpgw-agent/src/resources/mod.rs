//! The resources as types, and the only place that knows YAML and its schema.
//!
//! ```text
//! desired    the validated snapshot: what every source yields
//! problem    what is wrong, and where: file, line, column, object, field, reason
//! yaml       text → a tree of located nodes
//! fields     walks such a tree by a schema; knows known, unknown and not-yet-supported fields
//! document   one document: apiVersion, kind, metadata, and on to its kind
//! server, workload, policy, catalog, settings, namespace   one kind each
//! backend, timeouts, gateway, issuer, authentication, credential, audit, payloads, limit, rule, caller, grants   parts of a kind
//! condition  a rule's, and whether it can hold beside what else the rule says
//! annotated  what a rule wants of a tool's annotations; selector: what is wanted of labels
//! authorization  policies as types
//! engine     services outside that are asked about calls
//! token      whose tokens are believed, as types
//! pattern    a glob over names; globs reads lists of them
//! json_path  places in a JSON value
//! address, host, labels, name, namespaces, path, tls, url  values that several kinds share
//! assemble   what only all documents together can show: duplicates, missing targets
//! conflicts  what two servers, or a server and the gateway, cannot both have
//! immutable  what a resource keeps for as long as it is there
//! granted    whether a server asks for more than its namespace may have
//! captured   what becomes of direct dials of each address
//! restart    what a running agent cannot take over
//! bounds     every limit, by name
//! ```

mod address;
mod annotated;
mod assemble;
mod audit;
mod authentication;
mod authorization;
mod backend;
pub mod bounds;
mod caller;
mod captured;
mod catalog;
mod condition;
mod conflicts;
mod credential;
mod desired;
mod document;
mod engine;
mod fields;
mod gateway;
mod globs;
mod granted;
mod grants;
mod host;
mod immutable;
mod issuer;
mod json_path;
mod labels;
mod limit;
mod name;
mod namespace;
mod namespaces;
mod path;
mod pattern;
mod payloads;
mod policy;
mod problem;
mod restart;
mod rule;
mod selector;
mod server;
mod settings;
#[cfg(test)]
mod tests;
mod timeouts;
mod tls;
mod token;
mod url;
mod workload;
mod yaml;

use std::sync::Arc;

pub use address::{leads_to, not_allowed};
pub use authorization::*;
pub use captured::{Captured, captured};
pub use credential::{Credential, TokenEndpoint};
pub use desired::*;
pub use engine::{Asking, Engine, ExtAuthz, OnFailure, RateLimitService};
pub use json_path::{JsonPath, JsonPathError};
pub use limit::{KeyPart, Limit, Rate, Scope, Unit};
pub use pattern::{Pattern, PatternError};
pub use problem::{Problem, Problems};
pub use token::*;
pub use url::check as check_url;

/// One file of resources, read but not yet understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// What messages call it, usually its file name.
    pub name: Arc<str>,
    /// Its text: YAML, any number of documents.
    pub text: String,
}

/// Reads and validates all files as one set. The result has generation 1; whoever keeps generations sets it.
///
/// Everything that is wrong is reported, not only the first: the exception is a file whose YAML cannot be
/// parsed, where nothing behind the error can be read.
pub fn parse(files: &[SourceText]) -> Result<Desired, Problems> {
    parse_beside(files, None, Vec::new())
}

/// [`parse`], to take the place of what is `in_force`, where something is already known to be wrong, for example a file
/// that could not be read.
pub fn parse_beside(
    files: &[SourceText],
    in_force: Option<&Desired>,
    mut problems: Vec<Problem>,
) -> Result<Desired, Problems> {
    let mut documents = Vec::new();
    for file in files {
        for node in yaml::documents(file, &mut problems) {
            documents.extend(document::read(&file.name, &node, &mut problems));
        }
    }
    let desired = assemble::assemble(documents, in_force, &mut problems);
    if problems.is_empty() {
        Ok(desired)
    } else {
        Err(Problems::new(problems))
    }
}

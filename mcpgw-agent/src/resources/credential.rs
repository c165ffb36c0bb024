//! `MCPServer.spec.credential`: what the agent itself shows to a server, in place of what the caller showed.

use std::{path::PathBuf, sync::Arc};

use http::HeaderName;

use super::{
    bounds::{MAX_CLAIM_NAME_BYTES, MAX_SCOPES, MAX_URL_BYTES},
    fields::{Field, Schema, Sink},
    issuer, path,
    problem::quote,
    url,
};

/// What the agent shows to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// `Authorization: Bearer` with what is in a file.
    Bearer {
        /// The file; read again when it changes.
        file: PathBuf,
    },
    /// A header with what is in a file.
    Header {
        /// The header.
        name: HeaderName,
        /// The file; read again when it changes.
        file: PathBuf,
    },
    /// A token that an authorization server gives to the agent (RFC 6749, client credentials).
    OAuth2(TokenEndpoint),
    /// A token that an authorization server gives in exchange for the caller's (RFC 8693).
    TokenExchange(TokenEndpoint),
}

/// Where tokens are to be had, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEndpoint {
    /// Its URL.
    pub url: Arc<str>,
    /// Who asks.
    pub client_id: Arc<str>,
    /// File with the secret that proves it; read each time.
    pub client_secret: PathBuf,
    /// Scopes to ask for; empty: what the server gives by itself.
    pub scopes: Vec<Arc<str>>,
    /// For whom the token is to be.
    pub audience: Option<Arc<str>>,
    /// PEM file with the authorities that its certificate comes from; `None`: the system's.
    pub authorities: Option<PathBuf>,
}

const CREDENTIAL: Schema = Schema {
    known: &["bearer", "header", "oauth2", "tokenExchange"],
    later: &["serviceAccountToken"],
};
const BEARER: Schema = Schema {
    known: &["file"],
    later: &["secretRef"],
};
const HEADER: Schema = Schema {
    known: &["name", "file"],
    later: &["secretRef"],
};
const ENDPOINT: Schema = Schema {
    known: &["tokenUrl", "clientId", "clientSecretFile", "scopes", "audience", "ca"],
    later: &["clientSecretRef"],
};

/// Headers that say something else than who asks: with another value the request would be another.
const NOT_CREDENTIALS: [&str; 12] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "accept",
    "expect",
    "last-event-id",
];

/// The credential at `field`: exactly one kind.
pub(super) fn read(field: &Field, sink: &mut Sink) -> Option<Credential> {
    let fields = field.fields(&CREDENTIAL, sink)?;
    let mut kinds = CREDENTIAL
        .known
        .iter()
        .filter_map(|name| Some((*name, fields.optional(name)?)));
    let (Some((kind, field)), None) = (kinds.next(), kinds.next()) else {
        let names = CREDENTIAL.known.join(", ");
        fields.report(sink, format!("must have exactly one of {names}"));
        return None;
    };
    match kind {
        "bearer" => {
            let file = field.fields(&BEARER, sink)?.required("file", sink)?;
            path::secret(&file, sink).map(|file| Credential::Bearer { file })
        }
        "header" => header(&field, sink),
        "oauth2" => endpoint(&field, sink).map(Credential::OAuth2),
        _ => endpoint(&field, sink).map(Credential::TokenExchange),
    }
}

fn header(field: &Field, sink: &mut Sink) -> Option<Credential> {
    let fields = field.fields(&HEADER, sink)?;
    let file = fields
        .required("file", sink)
        .and_then(|field| path::secret(&field, sink));
    let name_field = fields.required("name", sink)?;
    let text = name_field.text(sink)?;
    let name = text.to_ascii_lowercase();
    let taken = NOT_CREDENTIALS.contains(&name.as_str()) || name.starts_with("mcp-");
    let reason = match HeaderName::try_from(&name) {
        Err(_) => format!("{} is not the name of a header", quote(text)),
        Ok(_) if taken => format!("{} is a header that means something else", quote(text)),
        Ok(name) => return Some(Credential::Header { name, file: file? }),
    };
    name_field.report(sink, reason);
    None
}

fn endpoint(field: &Field, sink: &mut Sink) -> Option<TokenEndpoint> {
    let fields = field.fields(&ENDPOINT, sink)?;
    let url = fields
        .required("tokenUrl", sink)
        .and_then(|field| url::secure(&field, sink));
    let client_id = fields.required("clientId", sink).and_then(|field| word(&field, sink));
    let client_secret = fields
        .required("clientSecretFile", sink)
        .and_then(|field| path::secret(&field, sink));
    let scopes = match fields.optional("scopes") {
        Some(field) => issuer::texts(&field, MAX_SCOPES, "leave it out to ask for none", sink, |scope| {
            let good = (1..=MAX_CLAIM_NAME_BYTES).contains(&scope.len()) && scope.chars().all(|c| c.is_ascii_graphic());
            (!good).then(|| format!("{} is not a scope", quote(scope)))
        }),
        None => Some(Vec::new()),
    };
    let audience = match fields.optional("audience") {
        Some(field) => word(&field, sink).map(Some),
        None => Some(None),
    };
    let authorities = match fields.optional("ca") {
        Some(field) => issuer::authorities(&field, sink).map(Some),
        None => Some(None),
    };
    Some(TokenEndpoint {
        url: url?.into(),
        client_id: client_id?,
        client_secret: client_secret?,
        scopes: scopes?,
        audience: audience?,
        authorities: authorities?,
    })
}

fn word(field: &Field, sink: &mut Sink) -> Option<Arc<str>> {
    let text = field.text(sink)?;
    if (1..=MAX_URL_BYTES).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic()) {
        return Some(text.into());
    }
    field.report(
        sink,
        format!(
            "{} has a space or a character that is not ASCII, or is empty or too long",
            quote(text)
        ),
    );
    None
}

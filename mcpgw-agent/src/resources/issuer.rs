//! `ClusterMCPSettings.spec.issuers[]`.

use std::{sync::Arc, time::Duration};

use super::{
    Algorithm, ClaimNames, Issuer, KeySource, OAuth, Review,
    bounds::{
        MAX_AUDIENCES, MAX_CLAIM_NAME_BYTES, MAX_CLOCK_SKEW, MAX_ISSUERS, MAX_KEY_AGE, MAX_REVIEW_AGE, MAX_SCOPES,
        MAX_URL_BYTES, MIN_KEY_AGE, MIN_REVIEW_AGE,
    },
    fields::{Field, Fields, Schema, Sink},
    path,
    problem::quote,
    timeouts, url,
};

const ISSUER: Schema = Schema {
    known: &[
        "issuer",
        "jwks",
        "review",
        "ca",
        "audiences",
        "algorithms",
        "claims",
        "clockSkew",
        "kubernetes",
        "oauth",
    ],
    later: &[],
};
const JWKS: Schema = Schema {
    known: &["url", "discovery", "file", "tokenFile", "maxAge"],
    later: &[],
};
const REVIEW: Schema = Schema {
    known: &["url", "tokenFile", "maxAge"],
    later: &[],
};
const CA: Schema = Schema {
    known: &["file"],
    later: &["secretRef"],
};
const CLAIMS: Schema = Schema {
    known: &["subject", "groups"],
    later: &[],
};
const OAUTH: Schema = Schema {
    known: &["scopes"],
    later: &[],
};
const EMPTY: Schema = Schema { known: &[], later: &[] };

/// The audience of ServiceAccount tokens that are made for us.
const OUR_AUDIENCE: &str = "mcpgw";
const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(30);
const DEFAULT_REVIEW_AGE: Duration = Duration::from_secs(60);
const DEFAULT_KEY_AGE: Duration = Duration::from_secs(24 * 3600);

/// The issuers at `field`; `public_url` is the gateway's.
pub(super) fn list(field: &Field, public_url: Option<&str>, sink: &mut Sink) -> Option<Vec<Arc<Issuer>>> {
    let list = field.list(MAX_ISSUERS, "leave issuers out to believe no tokens", sink)?;
    let mut issuers: Vec<Arc<Issuer>> = Vec::new();
    for field in &list {
        let Some(issuer) = issuer(field, public_url, sink) else {
            continue;
        };
        if issuers.iter().any(|known| known.issuer == issuer.issuer) {
            field.report(sink, format!("{} is listed twice", quote(&issuer.issuer)));
        } else {
            issuers.push(Arc::new(issuer));
        }
    }
    (issuers.len() == list.len()).then_some(issuers)
}

/// Every field is read before the first that is wrong makes the whole void, so that all are reported.
fn issuer(field: &Field, public_url: Option<&str>, sink: &mut Sink) -> Option<Issuer> {
    let fields = field.fields(&ISSUER, sink)?;
    let keys = match (fields.optional("jwks"), fields.optional("review")) {
        (Some(_), Some(field)) => {
            let reason = "must not stand beside jwks: tokens are verified by keys, or by asking";
            field.report(sink, reason);
            None
        }
        (Some(field), None) => jwks(&field, sink),
        (None, Some(field)) => {
            if !fields.has("kubernetes") {
                let reason = "needs kubernetes: {} beside it: only a Kubernetes API server has TokenReview";
                field.report(sink, reason);
            }
            review(&field, sink).map(|review| Jwks {
                max_age: review.max_age,
                token: None,
                keys: KeySource::Review(review),
            })
        }
        (None, None) => Some(Jwks {
            keys: KeySource::Discovery,
            token: None,
            max_age: DEFAULT_KEY_AGE,
        }),
    };
    let name = fields
        .required("issuer", sink)
        .and_then(|field| name(&field, keys.as_ref().map(|jwks| &jwks.keys), sink));
    let authorities = match fields.optional("ca") {
        Some(field) => authorities(&field, sink).map(Some),
        None => Some(None),
    };
    let kubernetes = match fields.optional("kubernetes") {
        Some(field) => field.fields(&EMPTY, sink).map(|_| true),
        None => Some(false),
    };
    let oauth = match fields.optional("oauth") {
        Some(field) => oauth(&field, public_url, sink).map(Some),
        None => Some(None),
    };
    let audiences = audiences(&fields, name.as_deref(), kubernetes?, public_url, sink);
    let algorithms = match fields.optional("algorithms") {
        Some(field) => algorithms(&field, sink),
        None => Some(Algorithm::ALL.to_vec()),
    };
    let claims = match fields.optional("claims") {
        Some(field) => claims(&field, sink),
        None => Some(ClaimNames::default()),
    };
    let clock_skew = match fields.optional("clockSkew") {
        Some(field) => timeouts::within(&field, Duration::ZERO..=MAX_CLOCK_SKEW, sink),
        None => Some(DEFAULT_CLOCK_SKEW),
    };
    let Jwks { keys, token, max_age } = keys?;
    Some(Issuer {
        issuer: name?.into(),
        keys,
        key_token: token,
        max_key_age: max_age,
        authorities: authorities?,
        audiences: audiences?,
        algorithms: algorithms?,
        claims: claims?,
        clock_skew: clock_skew?,
        kubernetes: kubernetes?,
        oauth: oauth?,
    })
}

/// What `iss` says. Only where it is asked for its keys must it be a URL that can be asked.
fn name(field: &Field, keys: Option<&KeySource>, sink: &mut Sink) -> Option<String> {
    if keys == Some(&KeySource::Discovery) {
        return url::secure(field, sink);
    }
    let text = field.text(sink)?;
    // A "#" ends it in the principal's name.
    let reason = match text {
        "" => "must not be empty".to_owned(),
        long if long.len() > MAX_URL_BYTES => {
            format!("is {} bytes long; at most {MAX_URL_BYTES} are allowed", long.len())
        }
        strange if strange.contains(|c: char| c == '#' || !c.is_ascii_graphic()) => {
            format!(
                "{} has a \"#\", a space or a character that is not ASCII",
                quote(strange)
            )
        }
        _ => return Some(text.to_owned()),
    };
    field.report(sink, reason);
    None
}

/// Where an issuer's keys are, what is shown there, and how long they are good.
struct Jwks {
    keys: KeySource,
    token: Option<std::path::PathBuf>,
    max_age: Duration,
}

fn jwks(field: &Field, sink: &mut Sink) -> Option<Jwks> {
    let fields = field.fields(&JWKS, sink)?;
    let max_age = match fields.optional("maxAge") {
        Some(field) => timeouts::within(&field, MIN_KEY_AGE..=MAX_KEY_AGE, sink),
        None => Some(DEFAULT_KEY_AGE),
    };
    let source = match (
        fields.optional("url"),
        fields.optional("discovery"),
        fields.optional("file"),
    ) {
        (Some(field), None, None) => url::secure(&field, sink).map(|url| KeySource::Url(url.into())),
        (None, Some(field), None) => field.fields(&EMPTY, sink).map(|_| KeySource::Discovery),
        (None, None, Some(field)) => path::key_set(&field, sink).map(KeySource::File),
        (None, None, None) => Some(KeySource::Discovery),
        _ => {
            fields.report(sink, "has more than one of url, discovery and file; write one");
            None
        }
    };
    let token = match fields.optional("tokenFile") {
        Some(field) if fields.has("file") => {
            field.report(sink, "is shown to nobody where the keys are in a file; leave it out");
            None
        }
        Some(field) => path::secret(&field, sink).map(Some),
        None => Some(None),
    };
    Some(Jwks {
        keys: source?,
        token: token?,
        max_age: max_age?,
    })
}

fn review(field: &Field, sink: &mut Sink) -> Option<Review> {
    let fields = field.fields(&REVIEW, sink)?;
    let url = fields.required("url", sink).and_then(|field| url::base(&field, sink));
    let token = fields
        .required("tokenFile", sink)
        .and_then(|field| path::secret(&field, sink));
    let max_age = match fields.optional("maxAge") {
        Some(field) => timeouts::within(&field, MIN_REVIEW_AGE..=MAX_REVIEW_AGE, sink),
        None => Some(DEFAULT_REVIEW_AGE),
    };
    Some(Review {
        url: url?.into(),
        token: token?,
        max_age: max_age?,
    })
}

/// The file of `ca` at `field`.
pub(super) fn authorities(field: &Field, sink: &mut Sink) -> Option<std::path::PathBuf> {
    let file = field.fields(&CA, sink)?.required("file", sink)?;
    path::pem(&file, sink)
}

fn oauth(field: &Field, public_url: Option<&str>, sink: &mut Sink) -> Option<OAuth> {
    let fields = field.fields(&OAUTH, sink)?;
    if public_url.is_none() {
        let reason =
            "needs spec.publicURL: clients are told which resource a token is to be for, and never by a Host header";
        field.report(sink, reason);
        return None;
    }
    let Some(list) = fields.optional("scopes") else {
        return Some(OAuth::default());
    };
    // RFC 6749: no space, no quote, no backslash.
    let allowed = |scope: &str| {
        let visible = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        (1..=MAX_CLAIM_NAME_BYTES).contains(&scope.len()) && scope.chars().all(visible)
    };
    let scopes = texts(&list, MAX_SCOPES, "leave scopes out to ask for none", sink, |scope| {
        (!allowed(scope)).then(|| format!("{} is not a scope", quote(scope)))
    })?;
    Some(OAuth { scopes })
}

/// A token that is for somebody else is nobody's business here: there is always an audience.
fn audiences(
    fields: &Fields,
    issuer: Option<&str>,
    kubernetes: bool,
    public_url: Option<&str>,
    sink: &mut Sink,
) -> Option<Vec<Arc<str>>> {
    let Some(field) = fields.optional("audiences") else {
        return match (kubernetes, public_url) {
            (true, _) => Some(vec![OUR_AUDIENCE.into()]),
            (false, Some(_)) => Some(Vec::new()),
            (false, None) => {
                let reason = "is required, as there is no spec.publicURL: tokens for others must not be good here";
                fields.report_missing("audiences", sink, reason);
                None
            }
        };
    };
    let advice = "leave it out to accept tokens for spec.publicURL only";
    texts(&field, MAX_AUDIENCES, advice, sink, |audience| {
        if kubernetes && Some(audience) == issuer {
            let reason = "{} is the audience of the API server: its tokens are in every pod";
            return Some(reason.replace("{}", &quote(audience)));
        }
        let good = (1..=MAX_URL_BYTES).contains(&audience.len()) && !audience.contains(char::is_control);
        (!good).then(|| format!("{} is not an audience", quote(audience)))
    })
}

fn algorithms(field: &Field, sink: &mut Sink) -> Option<Vec<Algorithm>> {
    let choices = Algorithm::ALL.map(|algorithm| (algorithm.as_str(), algorithm));
    let list = field.list(choices.len(), "leave it out to accept every one that is safe", sink)?;
    let mut algorithms = Vec::new();
    for field in &list {
        let Some(algorithm) = field.choice(&choices, &[], sink) else {
            continue;
        };
        if algorithms.contains(&algorithm) {
            field.report(sink, format!("{} is listed twice", algorithm.as_str()));
        } else {
            algorithms.push(algorithm);
        }
    }
    (algorithms.len() == list.len()).then_some(algorithms)
}

fn claims(field: &Field, sink: &mut Sink) -> Option<ClaimNames> {
    let fields = field.fields(&CLAIMS, sink)?;
    let mut names = ClaimNames::default();
    let mut good = true;
    for (key, name) in [("subject", &mut names.subject), ("groups", &mut names.groups)] {
        let Some(field) = fields.optional(key) else { continue };
        match field.text(sink) {
            Some(text) if (1..=MAX_CLAIM_NAME_BYTES).contains(&text.len()) => *name = text.into(),
            Some(text) => {
                field.report(sink, format!("{} is not the name of a claim", quote(text)));
                good = false;
            }
            None => good = false,
        }
    }
    good.then_some(names)
}

/// A list of strings, none of them twice; `wrong` says what is wrong with one.
pub(super) fn texts(
    field: &Field,
    max: usize,
    when_absent: &str,
    sink: &mut Sink,
    wrong: impl Fn(&str) -> Option<String>,
) -> Option<Vec<Arc<str>>> {
    let list = field.list(max, when_absent, sink)?;
    let mut texts: Vec<Arc<str>> = Vec::new();
    for field in &list {
        let Some(text) = field.text(sink) else { continue };
        if let Some(reason) = wrong(text) {
            field.report(sink, reason);
        } else if texts.iter().any(|known| **known == *text) {
            field.report(sink, format!("{} is listed twice", quote(text)));
        } else {
            texts.push(text.into());
        }
    }
    (texts.len() == list.len()).then_some(texts)
}

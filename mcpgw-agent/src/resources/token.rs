//! Whose tokens are believed, and how a caller proves who it is.

use std::{path::PathBuf, sync::Arc, time::Duration};

/// An issuer whose tokens are believed (`ClusterMCPSettings.spec.issuers[]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// What `iss` of its tokens says, character for character.
    pub issuer: Arc<str>,
    /// Where its keys are.
    pub keys: KeySource,
    /// File with the token that is shown where its keys are asked for, as a cluster's API server wants it; read each
    /// time. `None`: none is, and none where they are in a file.
    pub key_token: Option<PathBuf>,
    /// How long its keys are good when they cannot be read again; after that its tokens are refused.
    pub max_key_age: Duration,
    /// PEM file with the authorities that its servers' certificates come from; `None`: the system's.
    pub authorities: Option<PathBuf>,
    /// Audiences that its tokens may be made for, beside the gateway's public URL.
    pub audiences: Vec<Arc<str>>,
    /// How its tokens may be signed. At least one.
    pub algorithms: Vec<Algorithm>,
    /// Which claims say what.
    pub claims: ClaimNames,
    /// By how much its clock and ours may differ.
    pub clock_skew: Duration,
    /// It is a Kubernetes API server: its tokens say in `kubernetes.io` which ServiceAccount and pod they are for. No
    /// other issuer's are believed when they say so.
    pub kubernetes: bool,
    /// It is an OAuth 2.0 authorization server, that clients may be sent to.
    pub oauth: Option<OAuth>,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In the document at this URL.
    Url(Arc<str>),
    /// Where `<issuer>/.well-known/openid-configuration` says.
    Discovery,
    /// In a file, which is read again when it changes.
    File(PathBuf),
    /// Nowhere: it is asked about each token.
    Review(Review),
}

/// A Kubernetes API server that is asked about tokens (TokenReview).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// Its URL, without a path of the API.
    pub url: Arc<str>,
    /// File with the token that it is asked with: the agent's own ServiceAccount's.
    pub token: PathBuf,
    /// How long what it said of a token is good; then it is asked again, and the token refused where it cannot be.
    pub max_age: Duration,
}

/// Which claims of a token say who its subject is. A name is that of a claim, or else the path to one below others,
/// with dots between: `realm_access.roles`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    /// The subject, a string.
    pub subject: Arc<str>,
    /// Its groups, a string or a list of them.
    pub groups: Arc<str>,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            subject: "sub".into(),
            groups: "groups".into(),
        }
    }
}

/// What clients are told of an authorization server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OAuth {
    /// Scopes that its tokens must have, and that clients are told to ask for; empty: none.
    pub scopes: Vec<Arc<str>>,
}

/// How a token is signed. There are no symmetric ones: whoever could check such a token could make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "RFC 7518 and RFC 8037 define these names")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// As it is written in a token's header, in a key and in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm of this name, character for character.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

/// How a caller proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// The kernel saw which workload it is; nobody else is let in. The default on the redirected path, and at a
    /// gateway without issuers that is not on loopback.
    Attested,
    /// By a token of an issuer. The default at a gateway with issuers.
    Token,
    /// By both; a ServiceAccount's token must be that of the pod which the kernel saw.
    AttestedAndToken,
    /// By either.
    Any,
    /// Not at all: everyone who reaches the listener may call. For listeners on loopback only, and the default there
    /// without issuers.
    None,
}

impl Authentication {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attested => "Attested",
            Self::Token => "Token",
            Self::AttestedAndToken => "AttestedAndToken",
            Self::Any => "Any",
            Self::None => "None",
        }
    }

    /// Whether nobody gets in by it without a token.
    pub const fn needs_token(self) -> bool {
        matches!(self, Self::Token | Self::AttestedAndToken)
    }

    /// Whether a token that is shown counts for something.
    pub const fn reads_token(self) -> bool {
        matches!(self, Self::Token | Self::AttestedAndToken | Self::Any)
    }

    /// Whether nobody gets in by it whom the kernel did not see.
    pub const fn needs_kernel(self) -> bool {
        matches!(self, Self::Attested | Self::AttestedAndToken)
    }

    /// What satisfies both: the stricter, and both witnesses where each wants another.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let token = self.needs_token() || other.needs_token();
        let kernel = self.needs_kernel() || other.needs_kernel();
        match (token, kernel) {
            (true, true) => Self::AttestedAndToken,
            (true, false) => Self::Token,
            (false, true) => Self::Attested,
            (false, false) if self == Self::Any || other == Self::Any => Self::Any,
            (false, false) => Self::None,
        }
    }
}

/// What a policy asks of callers before anything else (`spec.authentication`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// How they prove who they are; never [`Authentication::None`].
    pub mode: Authentication,
    /// The issuers whose tokens count; `None`: every one of the settings.
    pub issuers: Option<Vec<Arc<str>>>,
}

impl Demand {
    /// What satisfies both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let issuers = match (&self.issuers, &other.issuers) {
            (Some(ours), Some(theirs)) => {
                let both = ours.iter().filter(|issuer| theirs.contains(issuer));
                Some(both.cloned().collect())
            }
            (ours, theirs) => ours.clone().or_else(|| theirs.clone()),
        };
        Self {
            mode: self.mode.and(other.mode),
            issuers,
        }
    }

    /// Whether tokens of this issuer count.
    pub fn accepts(&self, issuer: &str) -> bool {
        let listed = |issuers: &Vec<Arc<str>>| issuers.iter().any(|listed| **listed == *issuer);
        self.issuers.as_ref().is_none_or(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::{Authentication::*, *};

    #[test]
    fn the_strictest_of_two_modes_holds_and_two_witnesses_are_both_wanted() {
        for (one, other, both) in [
            (AttestedAndToken, Any, AttestedAndToken),
            (Token, Attested, AttestedAndToken),
            (Token, Any, Token),
            (Attested, Any, Attested),
            (Any, Any, Any),
            (None, Any, Any),
            (None, Token, Token),
            (None, None, None),
        ] {
            assert_eq!((one.and(other), other.and(one)), (both, both), "{one:?} {other:?}");
        }
    }

    #[test]
    fn of_two_lists_of_issuers_only_what_is_in_both_counts() {
        let demand = |issuers: Option<&[&str]>| Demand {
            mode: Token,
            issuers: issuers.map(|issuers| issuers.iter().map(|issuer| Arc::from(*issuer)).collect()),
        };
        let (ab, bc, any) = (
            demand(Some(&["a", "b"])),
            demand(Some(&["b", "c"])),
            demand(Option::None),
        );
        assert_eq!(ab.and(&bc), demand(Some(&["b"])));
        assert_eq!((any.and(&ab), ab.and(&any)), (ab.clone(), ab.clone()));
        let nobody = ab.and(&demand(Some(&["c"])));
        assert!(!nobody.accepts("a") && !nobody.accepts("c") && any.accepts("x"));
    }
}

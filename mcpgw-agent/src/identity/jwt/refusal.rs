//! Why a token is refused.

/// Why a token is refused. The text is for the client; [`reason`](Self::reason) is for metrics and the audit log.
/// Neither says anything of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// It is longer than any that is read.
    #[error("the token is too long")]
    TooLong,
    /// It is not three parts in base64url, each in its one spelling.
    #[error("the token is not a signed JWT")]
    Malformed,
    /// Its header is no JSON object, names something twice, or says something of the wrong type.
    #[error("the token's header is malformed")]
    Header,
    /// Its header says that it is another kind of token.
    #[error("the token is of a type that is not accepted")]
    Type,
    /// Its header asks for something that must be understood.
    #[error("the token's header has extensions that are not supported")]
    Critical,
    /// Its header brings a key, or says where one is.
    #[error("the token's header names a key of its own")]
    OwnKey,
    /// It is unsigned, signed with a secret, or by an algorithm that its issuer does not use.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// Its claims are no JSON object, name something twice, or say something of the wrong type.
    #[error("the token's claims are malformed")]
    Claims,
    /// Its issuer is none that is known.
    #[error("the token's issuer is not accepted")]
    Issuer,
    /// Its issuer has no such key.
    #[error("the token's key is unknown")]
    UnknownKey,
    /// It doesn't say which of several keys signed it.
    #[error("the token does not say which key signed it")]
    NoKeyId,
    /// Several keys of its issuer could have.
    #[error("the token's key is ambiguous")]
    AmbiguousKey,
    /// The key is not for the algorithm.
    #[error("the token's algorithm does not fit its key")]
    KeyMismatch,
    /// It was not signed with the key.
    #[error("the token's signature is not valid")]
    Signature,
    /// It doesn't say when it ends.
    #[error("the token never expires")]
    NoExpiry,
    /// It has ended.
    #[error("the token has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the token is not valid yet")]
    NotYet,
    /// It was made in the future.
    #[error("the token was issued in the future")]
    IssuedLater,
    /// It doesn't say whom it is about.
    #[error("the token has no subject")]
    NoSubject,
    /// It is for somebody else, or for nobody.
    #[error("the token is not meant for this audience")]
    Audience,
    /// A Kubernetes issuer's token that says nothing of a ServiceAccount, or two things.
    #[error("the token does not belong to one ServiceAccount")]
    ServiceAccount,
    /// It lacks a scope.
    #[error("the token lacks a scope that is needed here")]
    Scope,
    /// Its issuer is not one of those that count for this server.
    #[error("tokens of this issuer are not accepted here")]
    NotHere,
    /// It belongs to another pod than the caller's.
    #[error("the token belongs to another workload")]
    Stolen,
    /// The issuer's keys have not been read yet.
    #[error("the issuer's keys are not known yet")]
    NoKeys,
    /// The issuer's keys could not be read for too long.
    #[error("the issuer's keys are too old")]
    KeysTooOld,
    /// The issuer says that it is not good, though it may be signed.
    #[error("the token's issuer does not accept it")]
    Denied,
    /// The issuer is to be asked about each token, and cannot be.
    #[error("the token's issuer cannot be asked about it")]
    NoReview,
    /// The issuer is being asked about as many other tokens of the same caller as it may be.
    #[error("other new tokens of this caller are being looked at; try again later")]
    ReviewsTaken,
}

impl Refusal {
    /// The word for it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TooLong => "token_too_long",
            Self::Malformed => "token_malformed",
            Self::Header => "token_header",
            Self::Type => "token_type",
            Self::Critical => "token_critical",
            Self::OwnKey => "token_own_key",
            Self::Algorithm => "token_algorithm",
            Self::Claims => "token_claims",
            Self::Issuer => "token_issuer",
            Self::UnknownKey => "token_unknown_key",
            Self::NoKeyId => "token_no_key_id",
            Self::AmbiguousKey => "token_ambiguous_key",
            Self::KeyMismatch => "token_key_mismatch",
            Self::Signature => "token_signature",
            Self::NoExpiry => "token_no_expiry",
            Self::Expired => "token_expired",
            Self::NotYet => "token_not_yet",
            Self::IssuedLater => "token_issued_later",
            Self::NoSubject => "token_no_subject",
            Self::Audience => "token_audience",
            Self::ServiceAccount => "token_service_account",
            Self::Scope => "token_scope",
            Self::NotHere => "token_issuer_not_here",
            Self::Stolen => "stolen_token",
            Self::NoKeys => "issuer_keys_missing",
            Self::KeysTooOld => "issuer_keys_too_old",
            Self::Denied => "token_review_denied",
            Self::NoReview => "token_review_failed",
            Self::ReviewsTaken => "token_reviews_taken",
        }
    }

    /// Whether it is nothing that the token can be blamed for: the caller may try again with the same.
    pub const fn is_outage(self) -> bool {
        matches!(
            self,
            Self::NoKeys | Self::KeysTooOld | Self::NoReview | Self::ReviewsTaken
        )
    }
}

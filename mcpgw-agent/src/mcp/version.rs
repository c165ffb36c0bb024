//! Revisions of the protocol, and which of its two eras a request belongs to.
//!
//! One endpoint serves both. What a request says of itself decides, its body before its headers, so that no header
//! makes a request be read by rules that its body does not follow: where they disagree, it is refused in
//! [`super::modern`].

use std::str::FromStr;

use http::HeaderMap;

use super::{Envelope, headers::MCP_PROTOCOL_VERSION, method::Method, params::MetaKey};

/// A revision that is published. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// 2024-11-05: HTTP+SSE.
    V2024_11_05,
    /// 2025-03-26: Streamable HTTP, and batches.
    V2025_03_26,
    /// 2025-06-18: the version header; no batches.
    V2025_06_18,
    /// 2025-11-25: tasks.
    V2025_11_25,
    /// 2026-07-28: every request stands for itself.
    V2026_07_28,
}

/// How requests are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// Up to 2025-11-25: a session, opened by `initialize`.
    Legacy,
    /// From 2026-07-28 on: no session, metadata in every request.
    Modern,
}

/// A revision that is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unsupported protocol version")]
pub struct UnknownRevision;

impl Revision {
    /// All, the newest first: the order in which they are offered.
    pub const ALL: [Self; 5] = [
        Self::V2026_07_28,
        Self::V2025_11_25,
        Self::V2025_06_18,
        Self::V2025_03_26,
        Self::V2024_11_05,
    ];
    /// The one that `initialize` is answered with where the client knows it.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;
    /// The first one without sessions.
    pub const MODERN: Self = Self::V2026_07_28;
    /// What a missing header means.
    pub const ASSUMED: Self = Self::V2025_03_26;

    /// The date.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The era that it belongs to.
    pub fn era(self) -> Era {
        if self < Self::MODERN { Era::Legacy } else { Era::Modern }
    }

    /// Whether it begins with `initialize`.
    pub fn is_legacy(self) -> bool {
        self.era() == Era::Legacy
    }

    /// Whether a body may be an array of messages.
    pub fn has_batches(self) -> bool {
        self == Self::V2025_03_26
    }

    /// What `initialize` is answered with: the revision that is asked for, where it has an `initialize`, or else the
    /// latest that has.
    pub fn negotiated(asked: Option<&str>) -> Self {
        asked
            .and_then(|asked| asked.parse().ok())
            .filter(|revision: &Self| revision.is_legacy())
            .unwrap_or(Self::LATEST_LEGACY)
    }

    /// The revision that the headers of a legacy request name.
    pub fn of_headers(headers: &HeaderMap) -> Result<Self, UnknownRevision> {
        let mut named = headers.get_all(MCP_PROTOCOL_VERSION).iter();
        match (named.next(), named.next()) {
            (None, _) => Ok(Self::ASSUMED),
            (Some(value), None) => value.to_str().map_err(|_| UnknownRevision)?.parse(),
            // Which of them counts is anyone's guess.
            (Some(_), Some(_)) => Err(UnknownRevision),
        }
    }
}

impl FromStr for Revision {
    type Err = UnknownRevision;

    fn from_str(text: &str) -> Result<Self, UnknownRevision> {
        Self::ALL
            .into_iter()
            .find(|revision| revision.as_str() == text)
            .ok_or(UnknownRevision)
    }
}

impl serde::Serialize for Revision {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Revision {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Era {
    /// The era that a version belongs to, known or not. As in the reference SDKs, versions compare as text.
    pub fn of_version(version: &str) -> Self {
        if version >= Revision::MODERN.as_str() {
            Self::Modern
        } else {
            Self::Legacy
        }
    }
}

/// The era of a request.
///
/// Modern is what says so in its body or in a header, and what only the modern era has. `initialize` is the legacy
/// handshake whatever version it asks for, unless its body has modern metadata.
pub fn era(headers: &HeaderMap, envelope: &Envelope<'_>) -> Era {
    if let Some(version) = envelope.params.meta.get(MetaKey::ProtocolVersion) {
        // Legacy requests have no such member. A version that is not known is to be answered as one.
        let legacy = version.text().and_then(|version| version.parse::<Revision>().ok());
        if legacy.is_none_or(|revision| revision.era() == Era::Modern) {
            return Era::Modern;
        }
    }
    let method = envelope.known();
    if method == Some(Method::Initialize) {
        return Era::Legacy;
    }
    if is_modern(headers) {
        return Era::Modern;
    }
    method.and_then(|method| method.only_in()).unwrap_or(Era::Legacy)
}

/// Whether a header names a version of the modern era.
pub fn is_modern(headers: &HeaderMap) -> bool {
    let modern = |value: &http::HeaderValue| {
        std::str::from_utf8(value.as_bytes()).is_ok_and(|version| Era::of_version(version) == Era::Modern)
    };
    headers.get_all(MCP_PROTOCOL_VERSION).iter().any(modern)
}

#[cfg(test)]
#[path = "version_tests.rs"]
mod tests;

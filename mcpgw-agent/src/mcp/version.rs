//! Revisions of the protocol, and the two eras that they fall into.

use std::str::FromStr;

use http::HeaderMap;

use super::{Envelope, headers::MCP_PROTOCOL_VERSION};

/// A published revision. They are ordered as they were published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// HTTP+SSE, with sessions in the address.
    V2024_11_05,
    /// Streamable HTTP, and batches.
    V2025_03_26,
    /// Without batches.
    V2025_06_18,
    /// The last one with sessions.
    V2025_11_25,
    /// Every request stands for itself.
    V2026_07_28,
}

/// What a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Opened by `initialize`, with or without a session.
    Legacy,
    /// Self-contained.
    Modern,
}

/// There is no such revision, or none that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a known protocol version")]
pub struct UnknownRevision;

impl Revision {
    /// What a missing header means.
    pub const ASSUMED: Self = Self::V2025_03_26;
    /// The last one that knows sessions.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;
    /// The first one that does not.
    pub const MODERN: Self = Self::V2026_07_28;

    const ALL: [Self; 5] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
        Self::V2026_07_28,
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Whether it begins with `initialize`.
    pub fn is_legacy(self) -> bool {
        self < Self::MODERN
    }

    /// Whether a body may be an array of messages.
    pub fn has_batches(self) -> bool {
        self == Self::V2025_03_26
    }
}

impl FromStr for Revision {
    type Err = UnknownRevision;

    fn from_str(text: &str) -> Result<Self, UnknownRevision> {
        let known = Self::ALL.into_iter().find(|revision| revision.as_str() == text);
        known.ok_or(UnknownRevision)
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

/// Whether a version that somebody names is one of the modern era: that one, or a later one. Versions are dates.
pub fn is_modern(version: &str) -> bool {
    let is_date = version.len() == Revision::MODERN.as_str().len()
        && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    is_date && version >= Revision::MODERN.as_str()
}

/// The era of a message: modern where its header or its `_meta` names a modern version. `initialize` always opens a
/// legacy session, whatever version it asks for.
pub fn era(headers: &HeaderMap, envelope: &Envelope<'_>) -> Era {
    let named = headers.get_all(MCP_PROTOCOL_VERSION).iter();
    let by_header = named.filter_map(|value| value.to_str().ok()).any(is_modern);
    let by_meta = envelope.params.meta.protocol_version.is_some();
    match by_meta || by_header {
        true if envelope.method.as_deref() == Some("initialize") && !by_meta => Era::Legacy,
        true => Era::Modern,
        false => Era::Legacy,
    }
}

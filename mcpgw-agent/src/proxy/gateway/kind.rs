//! The kinds of lists.

use crate::{
    discovery::{Catalogue, Item},
    mcp::{governed, seal::ListKind},
};

/// Of what there are lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl Kind {
    /// The member of a list's result.
    pub(super) const fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The list, as a cursor names it.
    pub(super) const fn sealed(self) -> ListKind {
        match self {
            Self::Tools => ListKind::Tools,
            Self::Prompts => ListKind::Prompts,
            Self::Resources => ListKind::Resources,
            Self::Templates => ListKind::Templates,
        }
    }

    /// What its items are to rules.
    pub(super) const fn governed(self) -> governed::Kind {
        match self {
            Self::Tools => governed::Kind::Tool,
            Self::Prompts => governed::Kind::Prompt,
            Self::Resources | Self::Templates => governed::Kind::Resource,
        }
    }

    pub(super) fn items(self, catalogue: &Catalogue) -> &[Item] {
        match self {
            Self::Tools => &catalogue.tools,
            Self::Prompts => &catalogue.prompts,
            Self::Resources => &catalogue.resources,
            Self::Templates => &catalogue.templates,
        }
    }

    /// Whether the gateway prefixes the names of these; URIs stay as they are, unless two servers have one.
    pub(super) const fn is_prefixed(self) -> bool {
        matches!(self, Self::Tools | Self::Prompts)
    }
}

//! What variables must be for an expression to hold, as far as it says so by `==`, `in`, `&&` and `||`: so that a rule
//! which can never match is found before any call.

use std::fmt;

use super::{Value, Variable, node::Node, variables::VARIABLES};

/// What variables must be: each of them one of some texts. Of the others nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrow<'e>(Vec<(Variable, Vec<&'e str>)>);

/// What an expression would need in order to hold, and cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Never(String);

impl<'e> Narrow<'e> {
    /// Whether a variable may be a text of which this is true.
    pub fn may(&self, variable: Variable, fits: impl Fn(&str) -> bool) -> bool {
        let said = self.0.iter().find(|(said, _)| *said == variable);
        said.is_none_or(|(_, texts)| texts.iter().any(|text| fits(text)))
    }

    /// Both are so.
    fn and(mut self, other: Self) -> Self {
        for (variable, texts) in other.0 {
            match self.0.iter_mut().find(|(said, _)| *said == variable) {
                Some((_, known)) => known.retain(|text| texts.contains(text)),
                None => self.0.push((variable, texts)),
            }
        }
        self
    }

    /// One of them is so.
    fn or(mut self, other: &Self) -> Self {
        self.0.retain_mut(|(variable, texts)| {
            let found = other.0.iter().find(|(said, _)| said == variable);
            found.is_some_and(|(_, more)| {
                texts.extend(more);
                true
            })
        });
        self
    }
}

impl fmt::Display for Narrow<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (variable, texts)) in self.0.iter().enumerate() {
            let name = name(*variable);
            let and = if index == 0 { "" } else { " and " };
            match texts[..] {
                [text] => write!(formatter, "{and}{name} would have to be {text:?}")?,
                _ => write!(formatter, "{and}{name} would have to be one of {texts:?}")?,
            }
        }
        Ok(())
    }
}

/// What must be for a tree to hold, where `fits` says whether that can be; else what cannot be.
pub(super) fn narrow<'e>(node: &'e Node, fits: &dyn Fn(&Narrow<'_>) -> bool) -> Result<Narrow<'e>, Never> {
    let found = match node {
        Node::And(a, b) => narrow(a, fits)?.and(narrow(b, fits)?),
        Node::Or(a, b) => match (narrow(a, fits), narrow(b, fits)) {
            (Ok(a), Ok(b)) => a.or(&b),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => one,
            (Err(never), Err(_)) => return Err(never),
        },
        Node::Equal { sides, negated: false } => match &**sides {
            [Node::Variable(variable), Node::Constant(value)] | [Node::Constant(value), Node::Variable(variable)] => {
                one_of(*variable, [value])
            }
            _ => Narrow::default(),
        },
        Node::In(sides) => match &**sides {
            [Node::Variable(variable), Node::List(elements)] => {
                let constant = |element: &'e Node| match element {
                    Node::Constant(value) => Some(value),
                    _ => None,
                };
                let values: Option<Vec<_>> = elements.iter().map(constant).collect();
                values.map_or_else(Narrow::default, |values| one_of(*variable, values))
            }
            _ => Narrow::default(),
        },
        _ => Narrow::default(),
    };
    if let Some((variable, _)) = found.0.iter().find(|(_, texts)| texts.is_empty()) {
        return Err(Never(format!("{} would have to be what nothing is", name(*variable))));
    }
    match fits(&found) {
        true => Ok(found),
        false => Err(Never(found.to_string())),
    }
}

fn one_of<'e>(variable: Variable, values: impl IntoIterator<Item = &'e Value<'static>>) -> Narrow<'e> {
    // It is the only one that is no text.
    if variable == Variable::Pid {
        return Narrow::default();
    }
    let texts = values.into_iter().filter_map(|value| match value {
        Value::Text(text) => Some(&**text),
        _ => None,
    });
    Narrow(vec![(variable, texts.collect())])
}

/// As it is written.
fn name(variable: Variable) -> String {
    let all = VARIABLES
        .iter()
        .flat_map(|(group, members)| members.iter().map(move |member| (group, member)));
    let mut found = all.filter(|(_, (_, known, _))| *known == variable);
    found
        .next()
        .map_or_else(String::new, |(group, (member, ..))| format!("{group}.{member}"))
}

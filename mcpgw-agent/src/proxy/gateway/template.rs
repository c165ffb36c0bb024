//! Which URIs a resource template (RFC 6570) can stand for, as closely as routing needs it, and whose it is then.
//!
//! Servers write the templates, and callers the URIs. So of each server only so many are offered at all, none of them
//! too long, no URI that is too long fits, and each byte of a template and of a URI is compared at most once.

use std::{cmp::Reverse, sync::Arc};

use super::limits::MAX_MATCHED_URI;

/// What was compared so far, in bytes; one more for each text, which may be empty.
#[derive(Debug, Default)]
pub(super) struct Steps(usize);

impl Steps {
    /// How many they are.
    pub(super) fn count(&self) -> usize {
        self.0
    }
}

/// A template by which the owner of a URI is sought.
#[derive(Debug)]
pub(super) struct Template {
    /// As the gateway has it.
    pub(super) name: Arc<str>,
    /// As its server has it.
    pub(super) own: Arc<str>,
    /// Which of the view's servers has it.
    pub(super) seen: usize,
    /// Whether the caller sees it.
    pub(super) is_shown: bool,
}

/// Of these templates the one that fits a URI most closely, of equals the first by name; one that the caller does not
/// see only where none that it sees fits: what is hidden from it takes nothing from it.
pub(super) fn closest<'a>(
    templates: impl Iterator<Item = &'a Template>,
    uri: &str,
    steps: &mut Steps,
) -> Option<&'a Template> {
    let fitting = templates.filter_map(|template| {
        let closeness = fits(&template.name, uri, steps)?;
        Some(((template.is_shown, closeness, Reverse(&*template.name)), template))
    });
    let closest = fitting.max_by(|(one, _), (other, _)| one.cmp(other));
    closest.map(|(_, template)| template)
}

/// Whether `uri` can come from `template`, and how closely: the number of literal bytes in the template.
///
/// An expression stands for any text. That is more than RFC 6570 says, but the server decides in the end; here
/// only the owner is sought. So what stands between two expressions is where it comes first: no other place need be
/// tried.
fn fits(template: &str, uri: &str, steps: &mut Steps) -> Option<usize> {
    if uri.len() > MAX_MATCHED_URI {
        return None;
    }
    let mut literals = literals(template);
    let first = literals.next()?;
    steps.0 += 1 + first.len();
    let mut rest = uri.strip_prefix(first)?;
    let mut closeness = first.len();
    let mut last = None;
    for literal in literals {
        if let Some(before) = last.replace(literal) {
            rest = after(rest, before, steps)?;
            closeness += str::len(before);
        }
    }
    match last {
        // Without any expression the template is the URI.
        None => rest.is_empty().then_some(closeness),
        Some(end) => {
            steps.0 += 1 + end.len();
            rest.ends_with(end).then_some(closeness + end.len())
        }
    }
}

/// The texts before, between and behind the expressions.
fn literals(template: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(template);
    std::iter::from_fn(move || {
        let text = rest?;
        match text.split_once('{') {
            Some((literal, expression)) => {
                rest = Some(expression.split_once('}').map_or("", |(_, behind)| behind));
                Some(literal)
            }
            None => {
                rest = None;
                Some(text)
            }
        }
    })
}

/// What is behind the first place of a literal. The search takes time in proportion to what it passes over and to the
/// literal, however often that nearly begins.
fn after<'a>(text: &'a str, literal: &str, steps: &mut Steps) -> Option<&'a str> {
    let found = memchr::memmem::find(text.as_bytes(), literal.as_bytes());
    let end = found.map(|at| at + literal.len());
    steps.0 += 1 + literal.len() + end.unwrap_or(text.len());
    text.get(end?..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::{MAX_TEMPLATE, MAX_TEMPLATES};

    fn fit(template: &str, uri: &str) -> Option<usize> {
        fits(template, uri, &mut Steps::default())
    }

    #[test]
    fn a_template_fits_what_has_its_literals_in_their_order() {
        for (template, uri, closeness) in [
            ("demo://text/{id}", "demo://text/7", Some(12)),
            ("demo://text/{id}", "demo://blob/7", None),
            ("demo://{kind}/{id}/raw", "demo://a/b/raw", Some(12)),
            ("demo://{kind}/{id}/raw", "demo://a/b", None),
            ("demo://fixed", "demo://fixed", Some(12)),
            ("demo://fixed", "demo://fixed/more", None),
            ("{+all}", "anything", Some(0)),
            ("open{", "openx", Some(4)),
            ("é{a}ü{b}", "éxüy", Some(4)),
        ] {
            assert_eq!(fit(template, uri), closeness, "{template} {uri}");
        }
        assert_eq!(fit("{+all}", &"x".repeat(MAX_MATCHED_URI)), Some(0));
        assert_eq!(fit("{+all}", &"x".repeat(MAX_MATCHED_URI + 1)), None);
    }

    #[test]
    fn each_byte_is_compared_once_whatever_servers_and_callers_write() {
        let uri = format!("{}b", "a".repeat(MAX_MATCHED_URI - 1));
        for template in [
            "{x}a".repeat(MAX_TEMPLATE / 4),
            format!("{{x}}{}c{{y}}", "a".repeat(MAX_TEMPLATE / 2)),
            format!("{{x}}{}b{{y}}b", "a".repeat(MAX_TEMPLATE / 2)),
            "{x}".repeat(MAX_TEMPLATE / 3),
        ] {
            let mut steps = Steps::default();
            fits(&template, &uri, &mut steps);
            assert!(
                steps.count() <= uri.len() + 2 * template.len() + 1,
                "{} {template}",
                steps.count()
            );
        }
        let template = |number: usize| Template {
            name: format!("{}{number}", "{x}a".repeat(MAX_TEMPLATE / 4 - 2)).into(),
            own: "".into(),
            seen: 0,
            is_shown: true,
        };
        let templates: Vec<Template> = (0..MAX_TEMPLATES).map(template).collect();
        let mut steps = Steps::default();
        assert!(closest(templates.iter(), &uri, &mut steps).is_none());
        assert!(steps.count() <= MAX_TEMPLATES * (MAX_MATCHED_URI + 2 * MAX_TEMPLATE + 1));
    }
}

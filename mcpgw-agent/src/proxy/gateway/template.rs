//! Which URIs a resource template (RFC 6570) can stand for, as closely as routing needs it.

/// Whether `uri` can come from `template`, and how closely: the number of literal bytes in the template.
///
/// An expression stands for any text. That is more than RFC 6570 says, but the server decides in the end; here
/// only the owner is sought.
pub(super) fn fits(template: &str, uri: &str) -> Option<usize> {
    let mut literals = literals(template);
    let first = literals.next()?;
    let mut rest = uri.strip_prefix(first)?;
    let mut closeness = first.len();
    let mut last = None;
    for literal in literals {
        if let Some(before) = last.replace(literal) {
            rest = after(rest, before)?;
            closeness += str::len(before);
        }
    }
    match last {
        // Without any expression the template is the URI.
        None => rest.is_empty().then_some(closeness),
        Some(end) => rest.ends_with(end).then_some(closeness + end.len()),
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

fn after<'a>(text: &'a str, literal: &str) -> Option<&'a str> {
    text.find(literal).map(|at| &text[at + literal.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            assert_eq!(fits(template, uri), closeness, "{template} {uri}");
        }
    }
}

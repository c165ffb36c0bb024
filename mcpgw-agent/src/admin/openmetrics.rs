//! Prometheus' text format, as OpenMetrics has it.

use std::{borrow::Cow, fmt::Write as _};

use http::{HeaderMap, header};

/// What OpenMetrics is called.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const NAME: &str = "application/openmetrics-text";
/// What the samples of a counter end with, and its name does not.
const TOTAL: &str = "_total";

/// Whether whoever asks names OpenMetrics among what it reads, and does not refuse it.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let mut media = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    media.any(|media| {
        let mut parts = media.split(';').map(str::trim);
        let is_it = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(NAME));
        is_it && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// The same metrics: counters are named without `_total`, quotes are escaped in what is said of them, and the end is
/// marked.
pub(super) fn of_text(text: &str) -> String {
    let mut written = String::with_capacity(text.len() + 16);
    // The type of a family comes behind what is said of it.
    let mut help: Option<(&str, &str)> = None;
    for line in text.lines() {
        if let Some((name, about)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            help = Some((name, about));
            continue;
        }
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) else {
            written.push_str(line);
            written.push('\n');
            continue;
        };
        let family = match kind {
            "counter" => name.strip_suffix(TOTAL).unwrap_or(name),
            _ => name,
        };
        let kind = if kind == "untyped" { "unknown" } else { kind };
        // Writing to a string cannot fail.
        let _ = writeln!(written, "# TYPE {family} {kind}");
        if let Some((_, about)) = help.take().filter(|(of, _)| *of == name) {
            let about = match about.contains('"') {
                true => Cow::Owned(about.replace('"', "\\\"")),
                false => Cow::Borrowed(about),
            };
            let _ = writeln!(written, "# HELP {family} {about}");
        }
    }
    written.push_str("# EOF\n");
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_lose_their_suffix_and_the_end_is_marked() {
        let text = "# HELP a_total Says \"a\".\n# TYPE a_total counter\na_total{x=\"1\"} 2\n# HELP b About b.\n\
                    # TYPE b gauge\nb 1\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 0.5\nh_count 1\n";
        assert_eq!(
            of_text(text),
            "# TYPE a counter\n# HELP a Says \\\"a\\\".\na_total{x=\"1\"} 2\n# TYPE b gauge\n# HELP b About b.\nb 1\n\
             # TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 0.5\nh_count 1\n# EOF\n"
        );
    }

    #[test]
    fn who_asks_for_it_gets_it() {
        let wants = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            is_wanted(&headers)
        };
        assert!(wants(
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
        ));
        assert!(wants("text/plain, Application/OpenMetrics-Text"));
        assert!(!wants("text/plain;version=0.0.4") && !wants("*/*") && !is_wanted(&HeaderMap::new()));
        assert!(!wants("application/openmetrics-text;q=0"));
    }
}

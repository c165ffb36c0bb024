//! Media types, as far as they matter: whether something is an event stream, and whether a client reads one.

use http::{HeaderMap, header};

const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";

/// Whether an answer with these headers is an event stream.
pub fn is_events(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    media.is_some_and(|media| without_parameters(media).eq_ignore_ascii_case(EVENTS))
}

/// Whether a client with these headers reads event streams; one that says nothing does not, nor does one that takes
/// anything.
pub fn reads_events(headers: &HeaderMap) -> bool {
    let reads = |media: &str| [EVENTS, "text/*"].iter().any(|known| media.eq_ignore_ascii_case(known));
    accepted(headers).any(reads)
}

/// Whether it names event streams before JSON: it gets one also where the answer is known at once.
pub fn prefers_events(headers: &HeaderMap) -> bool {
    let is_events = |media: &str| media.eq_ignore_ascii_case(EVENTS);
    let first = accepted(headers).find(|media| is_events(media) || media.eq_ignore_ascii_case(JSON));
    first.is_some_and(is_events)
}

/// What a client accepts, in its order.
fn accepted(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::ACCEPT).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(without_parameters)
}

fn without_parameters(media: &str) -> &str {
    media.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accepting(accept: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))])
    }

    #[test]
    fn a_client_prefers_events_if_it_names_them_before_json() {
        let prefers = |accept| prefers_events(&accepting(accept));
        assert!(prefers("text/event-stream, application/json"));
        assert!(prefers("text/html,Text/Event-Stream;q=1 ,application/json"));
        for json in ["application/json, text/event-stream", "application/json", "*/*", ""] {
            assert!(!prefers(json), "{json}");
        }
    }

    #[test]
    fn a_client_reads_events_if_it_names_them_in_whichever_case() {
        let reads = |accept| reads_events(&accepting(accept));
        for events in [
            "application/json, text/event-stream",
            "TEXT/EVENT-STREAM; q=0.5",
            "text/*",
        ] {
            assert!(reads(events), "{events}");
        }
        for other in ["application/json", "*/*", "", "text/event-streams"] {
            assert!(!reads(other), "{other}");
        }
        assert!(!reads_events(&HeaderMap::new()));
    }

    #[test]
    fn an_answer_is_an_event_stream_by_its_media_type_alone() {
        let is = |media| {
            is_events(&HeaderMap::from_iter([(
                header::CONTENT_TYPE,
                HeaderValue::from_static(media),
            )]))
        };
        assert!(is("text/event-stream") && is(" Text/Event-Stream ; charset=utf-8"));
        assert!(!is("text/event-stream-like") && !is("application/json"));
    }
}

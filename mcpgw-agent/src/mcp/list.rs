//! The elements of a list in a server's answer, and how some of them are left out.

use std::ops::Range;

use super::{
    envelope::EnvelopeError,
    part::Part,
    scan::{Fault, Scanner},
    splice::Splice,
};

/// One element of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Where in the answer it stands.
    pub span: Range<usize>,
    /// Its name; `None` where it has none, or several.
    pub name: Option<String>,
}

/// The lists that `result` has as its member `member`, whose elements are named by `key`. A member that is there
/// twice is two lists: clients could read either.
pub fn lists(result: Part<'_>, member: &str, key: &str) -> Result<Vec<Vec<Element>>, EnvelopeError> {
    let mut lists = Vec::new();
    let mut scanner = Scanner::of(result);
    if scanner.peek()? != b'{' {
        return Ok(lists);
    }
    scanner.members(|scanner, name| {
        if name.decode()? != member || scanner.peek()? != b'[' {
            return scanner.skip().map(drop);
        }
        let mut elements = Vec::new();
        scanner.elements(|scanner| {
            elements.push(element(scanner, key)?);
            Ok::<_, Fault>(())
        })?;
        lists.push(elements);
        Ok(())
    })?;
    Ok(lists)
}

fn element(scanner: &mut Scanner<'_>, key: &str) -> Result<Element, Fault> {
    if scanner.peek()? != b'{' {
        let span = scanner.skip()?.span();
        return Ok(Element { span, name: None });
    }
    let mut names = Vec::new();
    let whole = scanner.members(|scanner, name| {
        if name.decode()? != key {
            return scanner.skip().map(drop);
        }
        names.push(scanner.text()?.map(|text| text.value.into_owned()));
        Ok::<_, Fault>(())
    })?;
    let name = match names.len() {
        1 => names.pop().flatten(),
        _ => None,
    };
    Ok(Element {
        span: whole.span(),
        name,
    })
}

/// Leaves out the elements that `keep` does not want, each with its comma.
pub fn retain(splice: &mut Splice<'_>, elements: &[Element], mut keep: impl FnMut(&Element) -> bool) {
    let mut kept = false;
    for (place, element) in elements.iter().enumerate() {
        if keep(element) {
            kept = true;
            continue;
        }
        // With the comma before it, where an element stays before it; else with the one behind it.
        let range = match (kept, place.checked_sub(1), elements.get(place + 1)) {
            (true, Some(before), _) => elements[before].span.end..element.span.end,
            (_, _, Some(next)) => element.span.start..next.span.start,
            (_, _, None) => element.span.clone(),
        };
        splice.replace(range, Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::mcp::message::Peek;

    /// The answer without the tools whose names begin with `x`.
    fn without_x(answer: &str) -> String {
        let body = Bytes::from(answer.to_owned());
        let peek = Peek::new(&body).unwrap();
        let result = peek.result().unwrap().unwrap();
        let mut splice = Splice::new(&body);
        for elements in lists(result.whole, "tools", "name").unwrap() {
            retain(&mut splice, &elements, |element| {
                element.name.as_ref().is_some_and(|name| !name.starts_with('x'))
            });
        }
        String::from_utf8(splice.finish().to_vec()).unwrap()
    }

    fn answer(tools: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"a": 1.0 ,"tools" : {tools} , "nextCursor":"c"}}}}"#)
    }

    #[test]
    fn what_goes_goes_with_its_comma_and_all_else_stays() {
        let table = [
            (r#"[ {"name":"x"} , {"name":"a"} ]"#, r#"[ {"name":"a"} ]"#),
            (r#"[ {"name":"a"} , {"name":"x"} ]"#, r#"[ {"name":"a"} ]"#),
            (
                r#"[{"name":"a"},{"name":"x1"},{"name":"x2"},{"name":"b"}]"#,
                r#"[{"name":"a"},{"name":"b"}]"#,
            ),
            (r#"[ {"name":"x1"} , {"name":"x2"} ]"#, "[  ]"),
            (r#"[{"name":"x1"},{"name":"a"},{"name":"x2"}]"#, r#"[{"name":"a"}]"#),
            (r#"[{"n\u0061me":"\u0078"},{"name":"a"}]"#, r#"[{"name":"a"}]"#),
            (
                r#"[{"name":"a","name":"x"},{"name":7},7,{"name":"b"}]"#,
                r#"[{"name":"b"}]"#,
            ),
            ("[]", "[]"),
            ("7", "7"),
        ];
        for (before, after) in table {
            assert_eq!(without_x(&answer(before)), answer(after));
        }
    }

    #[test]
    fn a_list_that_is_there_twice_is_filtered_twice() {
        let twice = r#"[{"name":"x"}],"tools":[{"name":"x"},{"name":"a"}]"#;
        assert_eq!(without_x(&answer(twice)), answer(r#"[],"tools":[{"name":"a"}]"#));
    }

    proptest! {
        #[test]
        fn exactly_what_is_unwanted_is_gone(names in prop::collection::vec("[ax][0-9]?", 0..8), space in "[ \n]{0,2}") {
            let tools: Vec<Value> = names.iter().map(|name| json!({"name": name, "inputSchema": {"name": "x"}})).collect();
            let written: Vec<String> = tools.iter().map(ToString::to_string).collect();
            let before = answer(&format!("[{space}{}{space}]", written.join(&format!("{space},"))));
            let after: Value = serde_json::from_str(&without_x(&before)).unwrap();
            let kept: Vec<Value> = tools.into_iter().filter(|tool| !tool["name"].as_str().unwrap().starts_with('x')).collect();
            prop_assert_eq!(&after["result"]["tools"], &Value::from(kept));
        }
    }
}

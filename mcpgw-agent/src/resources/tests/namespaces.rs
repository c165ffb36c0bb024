//! Namespaces' labels, and servers that are shown by them.

use super::*;

fn namespace(name: &str, labels: &str) -> String {
    format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {labels}}}\n")
}

fn exposed(selector: &str) -> String {
    document(
        "MCPServer",
        &format!("{{backend: {{addresses: [\"10.0.0.5:80\"]}}, exposeTo: {{selector: {selector}}}}}"),
    )
}

/// Which of these namespaces see `tools/x`.
fn seen_by<'a>(text: &str, namespaces: &[&'a str]) -> Vec<&'a str> {
    let desired = parse_one(text).unwrap();
    let shown = |name: &&&str| desired.servers[0].is_shown_to(name, &desired.namespaces);
    namespaces.iter().filter(shown).copied().collect()
}

#[test]
fn a_server_is_shown_to_namespaces_with_the_labels_that_its_selector_wants() {
    let namespaces = namespace("blue", "{team: blue, tier: gold}")
        + &namespace("red", "{team: red}")
        + &namespace("bare", "{kubernetes.io/metadata.name: bare}");
    let table: &[(&str, &[&str])] = &[
        ("{matchLabels: {team: blue}}", &["tools", "blue"]),
        ("{matchLabels: {team: blue, tier: tin}}", &["tools"]),
        (
            "{matchExpressions: [{key: team, operator: Exists}]}",
            &["tools", "blue", "red"],
        ),
        (
            "{matchExpressions: [{key: team, operator: In, values: [red, green]}]}",
            &["tools", "red"],
        ),
        (
            "{matchExpressions: [{key: team, operator: NotIn, values: [red]}]}",
            &["tools", "blue", "bare", "unnamed"],
        ),
        (
            "{matchExpressions: [{key: team, operator: DoesNotExist}]}",
            &["tools", "bare", "unnamed"],
        ),
        (
            "{matchLabels: {team: blue}, matchExpressions: [{key: tier, operator: DoesNotExist}]}",
            &["tools"],
        ),
        // The label that every namespace has, whether there is a document about it or not.
        (
            "{matchLabels: {kubernetes.io/metadata.name: unnamed}}",
            &["tools", "unnamed"],
        ),
        (
            "{matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [red]}]}",
            &["tools", "blue", "bare", "unnamed"],
        ),
    ];
    for (selector, expected) in table {
        let text = exposed(selector) + &namespaces;
        let seen = seen_by(&text, &["tools", "blue", "red", "bare", "unnamed"]);
        assert_eq!(seen, *expected, "{selector}");
    }
}

#[test]
fn a_namespace_can_be_as_an_api_server_prints_it() {
    let text = exposed("{matchLabels: {team: blue}}")
        + r#"---
apiVersion: v1
kind: Namespace
metadata:
  annotations: {note: "x"}
  creationTimestamp: "2026-01-01T00:00:00Z"
  labels: {kubernetes.io/metadata.name: blue, team: blue}
  name: blue
  resourceVersion: "12"
  uid: 3f0c
spec: {finalizers: [kubernetes]}
status: {phase: Active}
"#;
    assert_eq!(seen_by(&text, &["blue", "red"]), ["blue"]);
}

#[test]
fn the_settings_say_which_of_the_selected_see_it() {
    let namespaces = namespace("blue", "{team: x}") + &namespace("red", "{team: x}") + &namespace("green", "{team: y}");
    let text = |grants: &str| {
        let settings = document("ClusterMCPSettings", &format!("{{exposure: {grants}}}"));
        exposed("{matchLabels: {team: x}}") + "---\n" + &settings + &namespaces
    };
    let all = ["tools", "blue", "red", "green"];
    for (grants, expected, told) in [
        (
            "[{namespaces: [tools], to: [\"*\"]}]",
            &["tools", "blue", "red"][..],
            None,
        ),
        (
            "[{namespaces: [tools], to: [red, green]}, {namespaces: [other], to: [blue]}]",
            &["tools", "red"],
            Some("every namespace that its selector selects (only to red, green): exposeTo"),
        ),
        (
            "[]",
            &["tools"],
            Some("every namespace that its selector selects: exposeTo"),
        ),
    ] {
        let text = text(grants);
        assert_eq!(seen_by(&text, &all), expected, "{grants}");
        let found = parse_one(&text).unwrap().not_granted;
        assert_eq!(found.len(), usize::from(told.is_some()), "{grants}");
        if let Some(told) = told {
            assert!(found[0].reason.contains(told), "{}", found[0].reason);
        }
    }
}

#[test]
fn what_is_wrong_with_a_namespace_or_a_selector_is_said_with_its_place() {
    let wrong = |text: &str, expected: &str| {
        let found = problems(text);
        assert!(found.iter().any(|line| line.contains(expected)), "{text}{found:#?}");
    };
    let labelled = |labels: &str| namespace("a", labels);
    wrong(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  labels:\n    team: blue\n    mcpgw.dev/mode: observe\n",
        "r.yaml:7:21: Namespace a: metadata.labels.mcpgw.dev/mode: is not read from files: spec.mode of each Workload",
    );
    wrong(
        &labelled("{mcpgw.dev/failure-policy: Open}"),
        "is not read from files: ",
    );
    wrong(
        &labelled("{kubernetes.io/metadata.name: b}"),
        "is \"b\", and every namespace has its own name there: \"a\"",
    );
    wrong(&labelled("{team: \"-\"}"), "is no value of a label");
    wrong(
        &(labelled("{a: b}") + &labelled("{a: c}")),
        "this name is already used at r.yaml:4",
    );
    wrong(&namespace("A", "{}"), "is not a valid namespace");
    wrong(
        &labelled("{a: b}").replace("apiVersion: v1", "apiVersion: mcpgw.dev/v1alpha1"),
        "is not supported; write \"v1\"",
    );
    wrong(
        &labelled("{a: b}").replace("labels", "namespace: x, labels"),
        "unknown field \"namespace\"",
    );
    for (selector, expected) in [
        ("{}", "spec.exposeTo.selector: selects by nothing"),
        (
            "{matchLabels: {}}",
            "spec.exposeTo.selector.matchLabels: must not be empty",
        ),
        ("{matchLabels: {\"a b\": c}}", "is no key of a label"),
        ("{matchLabels: {a: 1}}", "put it in quotes"),
        ("{namespaces: [a]}", "unknown field \"namespaces\""),
        (
            "{matchExpressions: [{key: a, operator: in, values: [b]}]}",
            "spec.exposeTo.selector.matchExpressions[0].operator: \"in\" is not one of In, NotIn",
        ),
        ("{matchExpressions: [{key: a, operator: NotIn}]}", "values: is required"),
        (
            "{matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
            "goes with In and NotIn alone",
        ),
    ] {
        wrong(&exposed(selector), expected);
    }
}

#[test]
fn what_is_wrong_with_labels_is_said_once() {
    let many: Vec<String> = (0..=bounds::MAX_LABELS).map(|number| format!("l{number}: x")).collect();
    for (labels, expected) in [
        ("{team: 1}", "put it in quotes"),
        ("{1: blue}", "a field's name must be a string"),
        ("{team: \"-\"}", "is no value of a label"),
        ("{\"a b\": c}", "is no key of a label"),
        ("{mcpgw.dev/mode: true}", "put it in quotes"),
        ("{mcpgw.dev/mode: off}", "is not read from files"),
        (
            "{kubernetes.io/metadata.name: b}",
            "every namespace has its own name there",
        ),
        ("{}", "must not be empty"),
        ("[]", "must be a mapping"),
        (&format!("{{{}}}", many.join(", ")), "entries; at most"),
    ] {
        let found = problems(&namespace("a", labels));
        assert!(found.len() == 1 && found[0].contains(expected), "{labels}: {found:#?}");
    }
}

#[test]
fn no_more_namespaces_have_labels_than_there_is_room_for() {
    let many: String = (0..=bounds::MAX_NAMESPACES)
        .map(|number| namespace(&format!("n{number}"), "{a: b}"))
        .collect();
    let files: Vec<SourceText> = many
        .split_inclusive("\n")
        .collect::<Vec<_>>()
        .chunks(4 * 4000)
        .map(|lines| SourceText {
            name: "n.yaml".into(),
            text: lines.concat(),
        })
        .collect();
    let found = parse(&files).expect_err("should have been refused").lines();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains("one namespace too many: 16384 are allowed"),
        "{found:#?}"
    );
}

use super::*;
use crate::resources::{LabelRequirement, Labels, NAME_OF_NAMESPACE, ObjectName, Operator};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect()
}

fn by(pairs: &[(&str, &str)], expressions: &[(&str, Operator, &[&str])]) -> Expose {
    let expression = |(key, operator, values): &(&str, Operator, &[&str])| LabelRequirement {
        key: (*key).into(),
        operator: *operator,
        values: values.iter().map(|value| (*value).into()).collect(),
    };
    Expose::Selected {
        by: LabelSelector {
            labels: labels(pairs),
            expressions: expressions.iter().map(expression).collect(),
        },
        within: Namespaces::All,
    }
}

#[test]
fn two_servers_meet_where_some_namespace_sees_both_and_nowhere_else() {
    let known: NamespaceLabels = [
        ("a", &[("team", "x")][..]),
        ("b", &[("team", "y")]),
        ("c", &[("tier", "z")]),
    ]
    .into_iter()
    .map(|(name, pairs)| (name.into(), labels(pairs)))
    .collect();
    let some = |list: &[&str]| list.iter().map(|name| Arc::from(*name)).collect::<Vec<_>>();
    let within = |expose: Expose, list: &[&str]| match expose {
        Expose::Selected { by, .. } => Expose::Selected {
            by,
            within: Namespaces::These(some(list)),
        },
        other => other,
    };
    let team = |value| by(&[("team", value)], &[]);
    let exposures = [
        Expose::Own,
        Expose::Everyone,
        Expose::Namespaces(some(&["a", "elsewhere"])),
        Expose::Namespaces(some(&["two"])),
        team("x"),
        team("y"),
        team("nobody"),
        by(&[], &[("team", Operator::DoesNotExist, &[])]),
        by(&[], &[("team", Operator::Exists, &[])]),
        by(&[], &[("team", Operator::NotIn, &["x"])]),
        by(&[(NAME_OF_NAMESPACE, "b")], &[]),
        by(&[(NAME_OF_NAMESPACE, "unheard-of")], &[]),
        by(&[], &[(NAME_OF_NAMESPACE, Operator::In, &["unheard-of", "one"])]),
        by(&[], &[(NAME_OF_NAMESPACE, Operator::NotIn, &["elsewhere", "a"])]),
        within(by(&[], &[("team", Operator::DoesNotExist, &[])]), &["elsewhere", "a"]),
    ];
    // All that anybody names, and one that nobody does.
    let all = ["a", "b", "c", "one", "two", "elsewhere", "unheard-of", "any-other"];
    let at = |namespace: &str, expose_to: &Expose| Server {
        expose_to: expose_to.clone(),
        ..Server::at(
            ObjectName {
                namespace: namespace.into(),
                name: "s".into(),
            },
            vec![],
        )
    };
    let mut met = 0;
    for first in &exposures {
        for second in &exposures {
            for namespace in ["one", "two"] {
                let (first, second) = (at("one", first), at(namespace, second));
                let sees = |name: &&str| first.is_shown_to(name, &known) && second.is_shown_to(name, &known);
                let expected = all.iter().any(sees);
                met += usize::from(expected);
                let said = (first.meets(&second, &known), second.meets(&first, &known));
                assert_eq!(said, (expected, expected), "{first:?} {second:?}");
            }
        }
    }
    assert!(
        met > exposures.len() && met < 2 * exposures.len() * exposures.len(),
        "{met}"
    );
}

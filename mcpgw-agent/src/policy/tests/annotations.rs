//! Rules about what servers say of their tools.

use super::*;
use crate::resources::{Annotated, Server as WantedServer};

/// A plan with one server, `tools/calc`, whose annotations are trusted or not.
fn plan_of(rules: Vec<WantedRule>, trusted: bool) -> Plan {
    let mut server = WantedServer::at(name("tools", "calc"), vec!["10.0.0.1:80".parse().unwrap()]);
    server.trust_annotations = trusted;
    Plan::compile(&Desired {
        servers: vec![Arc::new(server)],
        policies: vec![policy("tools/p", &[], rules)],
        ..Desired::default()
    })
}

/// Whether a call of `tool` is allowed, of which the server says this; and whether it is listed.
fn allowed(plan: &Plan, kind: Kind, tool: &str, annotations: Annotations) -> (bool, bool) {
    let (server, caller) = (server(plan), caller("a", "x"));
    let governed = Governed {
        method: kind.main_method(),
        kind,
        name: tool,
    };
    let judgement = plan.decide(server, &Ask::new(&caller, governed, annotations, None));
    (
        matches!(judgement.decision, Decision::Allow { .. }),
        plan.shows(server, &caller, kind, tool, annotations),
    )
}

fn annotated(action: Action, annotations: Annotated) -> WantedRule {
    WantedRule {
        annotations,
        ..WantedRule::new(action)
    }
}

const READ_ONLY: Annotated = Annotated {
    read_only: Some(true),
    ..Annotated::NOTHING
};
const DESTRUCTIVE: Annotated = Annotated {
    destructive: Some(true),
    ..Annotated::NOTHING
};

fn says(read_only: Option<bool>, destructive: Option<bool>) -> Annotations {
    Annotations {
        read_only,
        destructive,
        ..Annotations::default()
    }
}

#[test]
fn a_rule_about_annotations_is_about_tools_and_those_that_it_names() {
    let everything = plan_of(vec![annotated(Action::Allow, READ_ONLY)], true);
    let harmless = says(Some(true), None);
    assert_eq!(allowed(&everything, Kind::Tool, "add", harmless), (true, true));
    assert_eq!(
        allowed(&everything, Kind::Tool, "add", Annotations::default()),
        (false, false)
    );
    for kind in [Kind::Prompt, Kind::Resource, Kind::Task, Kind::Other] {
        assert_eq!(allowed(&everything, kind, "add", harmless), (false, false), "{kind:?}");
    }
    let named = WantedRule {
        tools: globs(&["a*"]),
        ..annotated(Action::Allow, READ_ONLY)
    };
    let named = plan_of(vec![named], true);
    assert_eq!(allowed(&named, Kind::Tool, "add", harmless), (true, true));
    assert_eq!(allowed(&named, Kind::Tool, "big", harmless), (false, false));
    assert!(server(&named).reads_annotations() && !server(&plan(vec![])).reads_annotations());
}

#[test]
fn a_tool_of_which_nothing_is_believed_is_denied_as_destructive() {
    let rules = || vec![annotated(Action::Deny, DESTRUCTIVE), WantedRule::new(Action::Allow)];
    let (trusted, untrusted) = (plan_of(rules(), true), plan_of(rules(), false));
    for (annotations, expected) in [
        (says(None, None), false),
        (says(Some(true), None), true),
        (says(None, Some(false)), true),
        (says(Some(true), Some(true)), false),
    ] {
        assert_eq!(allowed(&trusted, Kind::Tool, "add", annotations), (expected, expected));
        assert_eq!(allowed(&untrusted, Kind::Tool, "add", annotations), (false, false));
        assert_eq!(allowed(&untrusted, Kind::Prompt, "add", annotations), (true, true));
    }
}

fn hint() -> impl Strategy<Value = Option<bool>> {
    prop::option::of(any::<bool>())
}

fn any_annotations() -> impl Strategy<Value = Annotations> {
    (hint(), hint(), hint(), hint()).prop_map(|(read_only, destructive, idempotent, open_world)| Annotations {
        read_only,
        destructive,
        idempotent,
        open_world,
    })
}

/// As the schema lets rules be: an allowing one asks for what is harmless, a denying one for what is not.
fn any_rule() -> impl Strategy<Value = WantedRule> {
    let names = prop::collection::vec(prop::sample::select(vec!["add", "b*", "*"]), 0..2);
    let asked = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (any::<bool>(), names, asked).prop_map(|(allows, names, asked)| {
        let action = if allows { Action::Allow } else { Action::Deny };
        WantedRule {
            tools: globs(&names),
            annotations: Annotated {
                read_only: asked.0.then_some(allows),
                destructive: asked.1.then_some(!allows),
                idempotent: asked.2.then_some(allows),
                open_world: asked.3.then_some(!allows),
            },
            ..WantedRule::new(action)
        }
    })
}

proptest! {
    #[test]
    fn what_is_listed_can_be_called_whatever_the_annotations(
        rules in prop::collection::vec(any_rule(), 0..5), trusted in any::<bool>(), annotations in any_annotations(),
        tool in prop::sample::select(vec!["add", "big", "other"]),
        kind in prop::sample::select(vec![Kind::Tool, Kind::Prompt]),
    ) {
        let (called, listed) = allowed(&plan_of(rules, trusted), kind, tool, annotations);
        prop_assert_eq!(called, listed);
    }

    #[test]
    fn annotations_only_ever_restrict(
        rules in prop::collection::vec(any_rule(), 0..5), annotations in any_annotations(),
        tool in prop::sample::select(vec!["add", "big"]),
    ) {
        let is_allowed = |rules: &[WantedRule], trusted, annotations| {
            allowed(&plan_of(rules.to_vec(), trusted), Kind::Tool, tool, annotations).0
        };
        // What a server says that is not trusted changes nothing; nor allows it what a trusted one does not.
        let untrusted = is_allowed(&rules, false, annotations);
        prop_assert_eq!(untrusted, is_allowed(&rules, false, Annotations::default()));
        prop_assert!(!untrusted || is_allowed(&rules, true, annotations));
        // A rule that allows some of a server's tools allows no more than one that allows all of them.
        let plain: Vec<WantedRule> = rules.iter().cloned().map(|rule| match rule.action {
            Action::Allow => WantedRule { annotations: Annotated::NOTHING, ..rule },
            Action::Deny => rule,
        }).collect();
        prop_assert!(!is_allowed(&rules, true, annotations) || is_allowed(&plain, true, annotations));
    }
}

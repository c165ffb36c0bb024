//! What policies can say, and what they cannot mean.

use super::*;

pub(super) fn policy(spec: &str) -> Result<Desired, Problems> {
    parse_one(&document("MCPPolicy", spec))
}

/// The messages about the rules of a policy.
pub(super) fn wrong(rule: &str) -> Vec<String> {
    problems(&document("MCPPolicy", &format!("{{rules: [{rule}]}}")))
        .into_iter()
        .map(|line| line.split_once("MCPPolicy tools/x: ").unwrap().1.to_owned())
        .collect()
}

/// Somebody whose tokens are believed.
pub(super) const ISSUER: &str = "---\napiVersion: mcpgw.dev/v1alpha1\nkind: ClusterMCPSettings\nmetadata: {name: default}\n\
                      spec: {issuers: [{issuer: \"https://issuer.example\", audiences: [mcpgw]}]}\n";

#[test]
fn every_field_of_a_rule_arrives() {
    let spec = r#"
  enforcement: DryRun
  selector: {matchLabels: {tier: gold, example.com/team: ""}}
  rules:
  - action: Allow
    from:
    - groups: ["team-*"]
      claims: {role: admin, realm: {tenants: [blue, "red*"]}}
    methods: [tools/call, "prompts/*", resources/read]
    tools: [add]
    prompts: [ask]
    resources: ["file:///data/*"]
    when: mcp.arguments.path.startsWith('/data/')
"#;
    let desired = parse_one(&(document("MCPPolicy", spec) + ISSUER)).unwrap();
    let policy = &desired.policies[0];
    assert_eq!(policy.enforcement, Enforcement::DryRun);
    let labels: Vec<(&str, &str)> = policy
        .selector
        .labels
        .labels
        .iter()
        .map(|(k, v)| (&**k, &**v))
        .collect();
    assert_eq!(labels, [("example.com/team", ""), ("tier", "gold")]);
    let rule = &policy.rules[0];
    let texts = |patterns: &[Pattern]| patterns.iter().map(|p| p.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(texts(&rule.methods), ["tools/call", "prompts/*", "resources/read"]);
    assert_eq!(
        (texts(&rule.prompts), texts(&rule.resources)),
        (vec!["ask".into()], vec!["file:///data/*".into()])
    );
    assert_eq!(
        rule.when.as_ref().unwrap().source(),
        "mcp.arguments.path.startsWith('/data/')"
    );
    assert_eq!(texts(&rule.from[0].groups), ["team-*"]);
    let claims = &rule.from[0].claims;
    assert_eq!(
        (&*claims[0].path, texts(&claims[0].values)),
        (&["role".into()][..], vec!["admin".to_owned()])
    );
    assert_eq!(claims[1].path, ["realm".into(), "tenants".into()]);
    assert_eq!(texts(&claims[1].values), ["blue", "red*"]);
}

#[test]
fn the_status_of_denials_is_one_of_two_and_enough_for_a_policy() {
    let of = |spec: &str| policy(spec).map(|desired| desired.policies[0].denial_status);
    assert_eq!(of("{denialStatus: http}").unwrap(), DenialStatus::Http);
    assert_eq!(
        of("{rules: [{action: Deny}], denialStatus: ok}").unwrap(),
        DenialStatus::Ok
    );
    assert_eq!(of("{rules: [{action: Deny}]}").unwrap(), DenialStatus::Ok);
    let found = problems(&document("MCPPolicy", "{denialStatus: HTTP}"));
    assert!(found[0].contains("\"HTTP\" is not one of ok, http"), "{found:?}");
}

#[test]
fn a_policy_of_the_cluster_selects_by_namespace_and_is_in_none() {
    let text = "apiVersion: mcpgw.dev/v1alpha1\nkind: ClusterMCPPolicy\nmetadata: {name: everywhere}\n\
                spec: {selector: {namespaces: [a], matchLabels: {b: c}}, rules: [{action: Deny}]}\n";
    let desired = parse_one(text).unwrap();
    assert_eq!(desired.policies[0].title(), "everywhere");
    assert_eq!(desired.policies[0].selector.namespaces, ["a".into()]);
    let namespaced = text.replace("name: everywhere", "name: everywhere, namespace: a");
    assert!(problems(&namespaced)[0].contains("this kind is cluster-scoped: leave the namespace out"));
    let targets = text.replace("selector: {namespaces: [a], matchLabels: {b: c}}", "targetRefs: []");
    assert!(problems(&targets)[0].contains("unknown field \"targetRefs\""));
}

#[test]
fn servers_have_labels() {
    let text = server("calc", "10.0.0.5:1").replace("name: calc}", "name: calc, labels: {tier: gold}}");
    let desired = parse_one(&text).unwrap();
    assert_eq!(&*desired.servers[0].labels["tier"], "gold");
    for (labels, reason) in [
        ("{\"a b\": c}", "is no key of a label"),
        ("{UP/a: c}", "is no key of a label"),
        ("{a: \"-\"}", "is no value of a label"),
        ("{a: 7}", "must be a string, but is"),
        ("{}", "must not be empty"),
        ("[a]", "must be a mapping"),
    ] {
        let found = problems(&text.replace("{tier: gold}", labels));
        assert!(found[0].contains(reason), "{labels}: {found:?}");
    }
}

#[test]
fn a_condition_that_cannot_be_is_refused_with_its_place() {
    let found = problems(&document(
        "MCPPolicy",
        "{rules: [{action: Deny, when: \"mcp.tol == 'x'\"}]}",
    ));
    assert_eq!(
        found,
        [
            "r.yaml:4:37: MCPPolicy tools/x: spec.rules[0].when: column 4 of the expression: unknown variable \"mcp.tol\"; \
          there is mcp.method, mcp.server, mcp.tool, mcp.prompt, mcp.resource, mcp.arguments"
        ]
    );
}

#[test]
fn a_rule_that_can_never_match_is_refused() {
    for (rule, problem) in [
        (
            "{action: Deny, methods: [tools/call], prompts: [a]}",
            "spec.rules[0].prompts: can never match: none of the rule's methods is about prompts",
        ),
        (
            "{action: Deny, methods: [tasks/get], when: \"mcp.tool == 'x'\"}",
            "spec.rules[0].when: mcp.tool is always empty here: the rule is about nothing that has it",
        ),
        (
            "{action: Deny, resources: [a], when: \"mcp.arguments.a == 'x'\"}",
            "spec.rules[0].when: mcp.arguments is always empty here: the rule is about nothing that has it",
        ),
        (
            "{action: Deny, when: \"mcp.tool == 'x' && false\"}",
            "spec.rules[0].when: is always false: the rule would never match",
        ),
        (
            "{action: Deny, from: [{namespaces: [a], serviceAccounts: [b/c]}]}",
            "spec.rules[0].from[0].serviceAccounts[0]: can never match: its namespace is none of the namespaces \
             beside it",
        ),
    ] {
        assert_eq!(wrong(rule), [problem], "{rule}");
    }
    for method in ["tools/cal", "tools/list", "initialize", "notifications/*"] {
        let found = wrong(&format!("{{action: Deny, methods: [\"{method}\"]}}"));
        assert!(
            found[0].contains("is no method that rules and limits are about"),
            "{found:?}"
        );
    }
}

#[test]
fn rules_claims_and_selectors_that_say_nothing_are_refused() {
    for (spec, problem) in [
        ("{}", "spec.rules: is required"),
        (
            "{enforcement: DryRun, authentication: {mode: Attested}, rules: [{action: Deny}]}",
            "spec.authentication: cannot be tried only",
        ),
        ("{enforcement: DryRun}", "spec.rules: is required"),
        (
            "{enforcement: Off, rules: [{action: Deny}]}",
            "\"Off\" is not one of Enforce, DryRun",
        ),
        (
            "{selector: {}, rules: [{action: Deny}]}",
            "spec.selector: selects by nothing",
        ),
        (
            "{selector: {namespaces: [a]}, rules: [{action: Deny}]}",
            "unknown field \"namespaces\"",
        ),
        (
            "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: MCPServer, name: x}], rules: [{action: Deny}]}",
            "must not have both targetRefs and selector",
        ),
        (
            "{rules: [{action: Deny, from: [{claims: {}}]}]}",
            "must not be empty; leave claims out",
        ),
        (
            "{rules: [{action: Deny, from: [{claims: {a: {}}}]}]}",
            "must not be empty; leave claims out",
        ),
        (
            "{rules: [{action: Deny, from: [{claims: {a: 7}}]}]}",
            "must be a string, but is",
        ),
        (
            "{rules: [{action: Deny, from: [{groups: []}]}]}",
            "must not be empty; leave groups out",
        ),
        (
            "{rules: [{action: Deny, from: [{}]}]}",
            "must name namespaces, serviceAccounts, groups or claims",
        ),
        ("{rules: [{action: Deny, when: 7}]}", "must be a string, but is"),
    ] {
        let found = policy(spec).expect_err(spec).lines();
        assert!(found.iter().any(|line| line.contains(problem)), "{spec}: {found:?}");
    }
}

#[test]
fn limits_arrive_and_what_is_wrong_with_them_is_named() {
    let spec = "{limits: [{requests: 100, per: 1m, key: [identity, \"claim:team.name\"], scope: Node}, \
                {name: few, counts: [\"resources/*\"], tools: [a*], requests: 5, per: 10s, burst: 1, concurrency: 2, scope: Node}]}";
    let parsed = parse_one(&(document("MCPPolicy", spec) + ISSUER)).unwrap();
    let limits = &parsed.policies[0].limits;
    let [first, second] = &limits[..] else {
        panic!("{limits:?}")
    };
    let count = |number| std::num::NonZeroU32::new(number).unwrap();
    let rate = |requests, per, burst| Rate {
        requests: count(requests),
        per: std::time::Duration::from_secs(per),
        burst: count(burst),
    };
    assert_eq!(first.rate, Some(rate(100, 60, 100)));
    assert_eq!(
        first.key,
        [KeyPart::Identity, KeyPart::Claim(vec!["team".into(), "name".into()])]
    );
    assert_eq!(first.counts, [Pattern::new("tools/call").unwrap()]);
    assert_eq!(
        (second.rate, second.concurrency),
        (Some(rate(5, 10, 1)), Some(count(2)))
    );
    assert_eq!((second.name.as_deref(), second.key.len()), (Some("few"), 0));
    for (limit, problem) in [
        ("{requests: 1, per: 1m}", "spec.limits[0].scope: is required"),
        (
            "{requests: 1, per: 1m, scope: Cluster}",
            "spec.limits[0].scope: Cluster needs spec.rateLimitService of ClusterMCPSettings",
        ),
        (
            "{requests: 1, per: 1m, scope: Node, mode: InLine}",
            "spec.limits[0].mode: says how the rate limit service is asked: it goes with scope: Cluster",
        ),
        ("{scope: Node}", "must have requests and per, or concurrency"),
        ("{requests: 1, scope: Node}", "requests and per go together"),
        (
            "{concurrency: 1, burst: 1, scope: Node}",
            "burst goes with requests and per",
        ),
        (
            "{requests: 0, per: 1m, scope: Node}",
            "must be a whole number from 1 to 1000000",
        ),
        (
            "{requests: 1, per: 10ms, scope: Node}",
            "is out of bounds: 1s to 28days",
        ),
        (
            "{requests: 1, per: 1m, key: [ip], scope: Node}",
            "\"ip\" is not one of identity",
        ),
        (
            "{requests: 1, per: 1m, key: [\"claim:\"], scope: Node}",
            "\"claim:\" is not one of identity",
        ),
        (
            "{requests: 1, per: 1m, counts: [\"tools/list\"], scope: Node}",
            "is no method that rules and limits are about",
        ),
        (
            "{name: \"a b\", requests: 1, per: 1m, scope: Node}",
            "a limit's name is 1 to 63",
        ),
    ] {
        let spec = format!("{{limits: [{limit}]}}");
        let found = policy(&spec).expect_err(&spec).lines();
        assert!(found.iter().any(|line| line.contains(problem)), "{spec}: {found:?}");
    }
    let twice = "{limits: [{name: a, concurrency: 1, scope: Node}, {name: a, concurrency: 1, scope: Node}]}";
    assert!(
        policy(twice)
            .expect_err(twice)
            .to_string()
            .contains("there are two limits \"a\"")
    );
}

#[test]
fn rules_about_annotations_arrive_and_what_would_widen_is_refused() {
    let rules = policy(
        "{rules: [{action: Allow, annotations: {readOnly: true, openWorld: false}}, \
         {action: Deny, tools: [a], annotations: {destructive: true}}]}",
    )
    .unwrap()
    .policies[0]
        .rules
        .clone();
    let wanted = |rule: &Rule| rule.annotations.wanted().collect::<Vec<_>>();
    assert_eq!(wanted(&rules[0]), [("readOnly", true), ("openWorld", false)]);
    assert_eq!(wanted(&rules[1]), [("destructive", true)]);
    for (rule, problem) in [
        (
            "{action: Allow, annotations: {destructive: true}}",
            "spec.rules[0].annotations.destructive: must be false in a rule that allows: annotations only ever restrict",
        ),
        (
            "{action: Deny, annotations: {readOnly: true}}",
            "spec.rules[0].annotations.readOnly: must be false in a rule that denies: annotations only ever restrict",
        ),
        (
            "{action: Deny, annotations: {}}",
            "spec.rules[0].annotations: must name one of readOnly, destructive, idempotent, openWorld",
        ),
        (
            "{action: Deny, annotations: {destructive: \"yes\"}}",
            "must be true or false, but is a string",
        ),
        (
            "{action: Deny, prompts: [a], annotations: {destructive: true}}",
            "give prompts a rule of their own",
        ),
        (
            "{action: Deny, methods: [prompts/get], annotations: {destructive: true}}",
            "can never match: none of the rule's methods is about tools",
        ),
        (
            "{action: Deny, annotations: {destructive: true}, when: \"mcp.prompt == 'x'\"}",
            "mcp.prompt is always empty here",
        ),
    ] {
        let found = wrong(rule);
        assert!(found.iter().any(|line| line.contains(problem)), "{rule}: {found:?}");
    }
}

#[test]
fn a_selector_can_say_which_labels_must_be_there_and_which_not() {
    let with = |expressions: &str| {
        let spec = format!("{{selector: {{matchExpressions: [{expressions}]}}, rules: [{{action: Deny}}]}}");
        policy(&spec)
    };
    let labelled = |labels: &[(&str, &str)]| {
        let name = ObjectName {
            namespace: "tools".into(),
            name: "s".into(),
        };
        let mut server = Server::at(name, vec![]);
        server.labels = labels
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        server
    };
    let servers = [
        labelled(&[]),
        labelled(&[("tier", "gold")]),
        labelled(&[("tier", "tin"), ("old", "")]),
    ];
    for (expressions, expected) in [
        (
            "{key: tier, operator: In, values: [gold, silver]}",
            [false, true, false],
        ),
        ("{key: tier, operator: NotIn, values: [gold]}", [true, false, true]),
        ("{key: tier, operator: Exists}", [false, true, true]),
        ("{key: tier, operator: DoesNotExist}", [true, false, false]),
        (
            "{key: tier, operator: Exists}, {key: old, operator: DoesNotExist}",
            [false, true, false],
        ),
    ] {
        let desired = with(expressions).unwrap();
        let governs = servers.each_ref().map(|server| desired.policies[0].governs(server));
        assert_eq!(governs, expected, "{expressions}");
    }
    for (expressions, problem) in [
        (
            "{key: tier, operator: Is}",
            "\"Is\" is not one of In, NotIn, Exists, DoesNotExist",
        ),
        ("{key: tier, operator: In}", "matchExpressions[0].values: is required"),
        (
            "{key: tier, operator: Exists, values: [a]}",
            "goes with In and NotIn alone",
        ),
        ("{key: \"a b\", operator: Exists}", "is no key of a label"),
        ("{key: a, operator: In, values: [\"-\"]}", "is no value of a label"),
        ("{operator: Exists}", "matchExpressions[0].key: is required"),
        ("", "must not be empty; leave matchExpressions out"),
    ] {
        let found = with(expressions).expect_err(expressions).lines();
        assert!(
            found.iter().any(|line| line.contains(problem)),
            "{expressions}: {found:?}"
        );
    }
}

//! Issuers, and what is asked of callers.

use std::time::Duration;

use super::*;

fn settings(spec: &str) -> Settings {
    let text = document("ClusterMCPSettings", spec);
    parse_one(&text)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .settings
}

/// The one message about these settings.
fn refused(spec: &str, field: &str, reason: &str) {
    let found = problems(&document("ClusterMCPSettings", spec));
    let expected = format!("{field}: {reason}");
    assert!(
        found.len() == 1 && found[0].contains(&expected),
        "{expected}\n{found:#?}"
    );
}

#[test]
fn every_field_arrives() {
    let found = settings(
        "{publicURL: \"https://mcp.example/x\", issuers: [{issuer: \"https://idp.example\", \
         jwks: {url: \"https://idp.example/keys\", tokenFile: /var/run/token, maxAge: 1h}, ca: {file: /ca.pem}, audiences: [a, b], \
         algorithms: [ES256, RS256], claims: {subject: email, groups: realm_access.roles}, clockSkew: 5s, \
         oauth: {scopes: [mcp, \"mcp:call\"]}}, \
         {issuer: \"https://kubernetes.default.svc\", jwks: {file: /jwks.json}, kubernetes: {}}]}",
    );
    assert_eq!(found.public_url.as_deref(), Some("https://mcp.example/x"));
    let expected = Issuer {
        issuer: "https://idp.example".into(),
        keys: KeySource::Url("https://idp.example/keys".into()),
        key_token: Some("/var/run/token".into()),
        max_key_age: Duration::from_secs(3600),
        authorities: Some("/ca.pem".into()),
        audiences: vec!["a".into(), "b".into()],
        algorithms: vec![Algorithm::ES256, Algorithm::RS256],
        claims: ClaimNames {
            subject: "email".into(),
            groups: "realm_access.roles".into(),
        },
        clock_skew: Duration::from_secs(5),
        kubernetes: false,
        oauth: Some(OAuth {
            scopes: vec!["mcp".into(), "mcp:call".into()],
        }),
    };
    assert_eq!(*found.issuers[0], expected);
    let cluster = &found.issuers[1];
    assert_eq!(cluster.keys, KeySource::File("/jwks.json".into()));
    assert_eq!((cluster.kubernetes, &*cluster.audiences), (true, &["mcpgw".into()][..]));
    assert_eq!((&cluster.claims, &cluster.oauth), (&ClaimNames::default(), &None));
    assert_eq!(cluster.clock_skew, Duration::from_secs(30));
    assert_eq!(cluster.algorithms, Algorithm::ALL);
}

#[test]
fn an_issuer_that_says_nothing_of_its_keys_is_asked_for_them() {
    let found = settings("{issuers: [{issuer: \"https://idp.example\", audiences: [a]}]}");
    assert_eq!(found.issuers[0].keys, KeySource::Discovery);
    assert_eq!(found.issuers[0].max_key_age, Duration::from_secs(24 * 3600));
}

#[test]
fn an_api_server_may_be_asked_about_each_token() {
    let settings = settings(
        "{issuers: [{issuer: \"https://k.example\", kubernetes: {}, ca: {file: /ca.pem}, \
         review: {url: \"https://10.0.0.1:6443\", tokenFile: /token}}, {issuer: other, kubernetes: {}, \
         review: {url: \"https://10.0.0.2\", tokenFile: /other, maxAge: 5s}}]}",
    );
    let review = |url: &str, token: &str, seconds| {
        KeySource::Review(Review {
            url: url.into(),
            token: token.into(),
            max_age: Duration::from_secs(seconds),
        })
    };
    let found: Vec<&KeySource> = settings.issuers.iter().map(|issuer| &issuer.keys).collect();
    assert_eq!(
        found,
        [
            &review("https://10.0.0.1:6443", "/token", 60),
            &review("https://10.0.0.2", "/other", 5)
        ]
    );
    assert_eq!(settings.issuers[0].audiences, ["mcpgw".into()]);
}

#[test]
fn issuers_that_could_not_be_trusted_are_refused() {
    let issuer = |more: &str| format!("{{issuers: [{{issuer: \"https://i.example\", {more}}}]}}");
    for (spec, field, reason) in [
        ("{issuers: []}".to_owned(), "spec.issuers", "must not be empty"),
        (issuer("jwks: {}"), "spec.issuers[0].audiences", "is required"),
        (
            issuer("audiences: [a], jwks: {url: \"http://i.example/k\"}"),
            "spec.issuers[0].jwks.url",
            "\"http://i.example/k\" is http, and not on loopback",
        ),
        (
            "{issuers: [{issuer: \"http://i.example\", audiences: [a]}]}".to_owned(),
            "spec.issuers[0].issuer",
            "\"http://i.example\" is http",
        ),
        (
            "{issuers: [{issuer: \"a#b\", jwks: {file: /k}, audiences: [a]}]}".to_owned(),
            "spec.issuers[0].issuer",
            "\"a#b\" has a \"#\"",
        ),
        (
            issuer("audiences: [a], jwks: {file: /k, discovery: {}}"),
            "spec.issuers[0].jwks",
            "has more than one of",
        ),
        (
            issuer("audiences: [a], jwks: {file: /k, tokenFile: /t}"),
            "spec.issuers[0].jwks.tokenFile",
            "is shown to nobody where the keys are in a file",
        ),
        (
            issuer("audiences: [a], jwks: {tokenFile: t}"),
            "spec.issuers[0].jwks.tokenFile",
            "\"t\" is not a path that begins with",
        ),
        (
            issuer("audiences: [a], algorithms: [HS256]"),
            "spec.issuers[0].algorithms[0]",
            "\"HS256\" is not one of RS256",
        ),
        (
            issuer("audiences: [a], algorithms: [none]"),
            "spec.issuers[0].algorithms[0]",
            "\"none\" is not one of",
        ),
        (
            issuer("audiences: [a], clockSkew: 6m"),
            "spec.issuers[0].clockSkew",
            "\"6m\" is out of bounds",
        ),
        (
            issuer("audiences: [\"https://i.example\"], kubernetes: {}"),
            "spec.issuers[0].audiences[0]",
            "\"https://i.example\" is the audience of the API server",
        ),
        (
            issuer("audiences: [a], review: {url: \"https://k.example\", tokenFile: /t}"),
            "spec.issuers[0].review",
            "needs kubernetes: {} beside it",
        ),
        (
            issuer("kubernetes: {}, jwks: {file: /k}, review: {url: \"https://k.example\", tokenFile: /t}"),
            "spec.issuers[0].review",
            "must not stand beside jwks",
        ),
        (
            issuer("kubernetes: {}, review: {url: \"http://k.example\", tokenFile: /t}"),
            "spec.issuers[0].review.url",
            "\"http://k.example\" is http",
        ),
        (
            issuer("kubernetes: {}, review: {url: \"https://k.example\"}"),
            "spec.issuers[0].review.tokenFile",
            "is required",
        ),
        (
            issuer("kubernetes: {}, review: {url: \"https://k.example\", tokenFile: /t, maxAge: 11m}"),
            "spec.issuers[0].review.maxAge",
            "\"11m\" is out of bounds",
        ),
        (
            issuer("audiences: [a, a]"),
            "spec.issuers[0].audiences[1]",
            "\"a\" is listed twice",
        ),
        (
            issuer("audiences: [a], oauth: {}"),
            "spec.issuers[0].oauth",
            "needs spec.publicURL",
        ),
        (
            "{publicURL: \"https://mcp.example/\"}".to_owned(),
            "spec.publicURL",
            "\"https://mcp.example/\" ends with \"/\"",
        ),
    ] {
        refused(&spec, field, reason);
    }
}

#[test]
fn a_gateway_with_issuers_wants_tokens_unless_it_says_otherwise() {
    let mode = |listen: &str, more: &str| {
        let issuers = "issuers: [{issuer: i, jwks: {file: /k}, audiences: [a]}]";
        let found = settings(&format!("{{{issuers}, gateway: {{listen: [\"{listen}\"]{more}}}}}"));
        found.gateway.unwrap().authentication
    };
    assert_eq!(mode("10.0.0.1:1", ""), Authentication::Token);
    assert_eq!(mode("127.0.0.1:1", ""), Authentication::Token);
    assert_eq!(
        mode("127.0.0.1:1", ", authentication: {mode: None}"),
        Authentication::None
    );
    assert_eq!(mode("10.0.0.1:1", ", authentication: {mode: Any}"), Authentication::Any);
}

#[test]
fn a_policy_may_ask_for_tokens_of_issuers_that_are_there() {
    let with = |policy: &str| {
        let issuers = "{issuers: [{issuer: i, jwks: {file: /k}, audiences: [a]}]}";
        document("ClusterMCPSettings", issuers) + "---\n" + &document("MCPPolicy", policy)
    };
    let found = parse_one(&with("{authentication: {mode: AttestedAndToken, issuers: [i]}}")).unwrap();
    let demand = Demand {
        mode: Authentication::AttestedAndToken,
        issuers: Some(vec!["i".into()]),
    };
    assert_eq!(found.policies[0].authentication, Some(demand));
    assert!(found.policies[0].rules.is_empty());
    for (policy, reason) in [
        (
            "{authentication: {mode: None}}",
            "spec.authentication.mode: None is for listeners",
        ),
        ("{authentication: {}}", "spec.authentication.mode: is required"),
        (
            "{authentication: {mode: Token, issuers: [j]}}",
            "\"j\" is not an issuer of",
        ),
        (
            "{authentication: {mode: Token, issuers: []}}",
            "spec.authentication.issuers: must not be empty",
        ),
    ] {
        let found = problems(&with(policy));
        assert!(found.len() == 1 && found[0].contains(reason), "{reason}\n{found:#?}");
    }
    let alone = problems(&document("MCPPolicy", "{authentication: {mode: Token}}"));
    assert!(
        alone[0].contains("Token needs spec.issuers of ClusterMCPSettings"),
        "{alone:?}"
    );
    parse_one(&document("MCPPolicy", "{authentication: {mode: Attested}}")).unwrap();
}

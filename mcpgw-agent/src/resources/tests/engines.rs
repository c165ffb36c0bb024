//! Services outside that are asked about calls, and limits that they count.

use std::time::Duration;

use super::*;

fn settings(service: &str) -> String {
    document("ClusterMCPSettings", &format!("{{rateLimitService: {service}}}"))
}

fn with_limit(limit: &str) -> String {
    let policy = document("MCPPolicy", &format!("{{limits: [{limit}]}}"));
    format!("{}---\n{policy}", settings("{address: \"ratelimit:8081\"}"))
}

#[test]
fn a_rate_limit_service_arrives_and_what_is_wrong_with_it_is_named() {
    let of = |service: &str| {
        parse_one(&settings(service))
            .unwrap()
            .settings
            .rate_limit_service
            .unwrap()
    };
    let least = of("{address: \"ratelimit.system:8081\"}");
    assert_eq!(
        *least,
        RateLimitService {
            engine: Engine {
                host: "ratelimit.system".into(),
                port: 8081,
                tls: None,
                timeout: Duration::from_millis(100),
                on_failure: OnFailure::Closed,
            },
            domain: "mcpgw".into(),
            mode: Asking::InLine,
        }
    );
    let all = of(
        "{address: \"[fd00::1]:1\", tls: {serverName: rl.example}, timeout: 2s, failureMode: Open, domain: prod, mode: Background}",
    );
    assert_eq!(
        (all.engine.address().as_str(), all.engine.timeout, all.engine.on_failure),
        ("[fd00::1]:1", Duration::from_secs(2), OnFailure::Open)
    );
    assert_eq!((&*all.domain, all.mode), ("prod", Asking::Background));
    let tls = all.engine.tls.clone().unwrap();
    assert_eq!(tls.server_name.as_deref(), Some("rl.example"));
    for (service, problem) in [
        (
            "{domain: a}",
            "spec.rateLimitService.address: is required, for example \"ratelimit:8081\"",
        ),
        (
            "{address: \"http://rl.example:8081/\"}",
            "is not of the form host:port, write \"rl.example:8081\"",
        ),
        (
            "{address: \"grpcs://rl.example:8081\"}",
            "write \"rl.example:8081\" and tls: {}",
        ),
        ("{address: \"fd00::1:8081\"}", "write \"[fd00::1]:8081\""),
        ("{address: \"http://rl\"}", "for example \"ratelimit:8081\""),
        (
            "{address: ratelimit}",
            "spec.rateLimitService.address: \"ratelimit\" is not of the form host:port",
        ),
        (
            "{address: \"a:1\", domain: a_b}",
            "spec.rateLimitService.domain: a domain is 1 to 63 letters",
        ),
        (
            "{address: \"a:1\", timeout: 1m}",
            "spec.rateLimitService.timeout: \"1m\" is out of bounds: 1ms to 30s",
        ),
        (
            "{address: \"a:1\", failureMode: Maybe}",
            "\"Maybe\" is not one of Closed, Open",
        ),
        (
            "{address: \"a:1\", mode: Later}",
            "\"Later\" is not one of InLine, Background",
        ),
    ] {
        let found = problems(&settings(service));
        assert!(found.iter().any(|line| line.contains(problem)), "{service}: {found:?}");
    }
}

#[test]
fn a_policy_engine_arrives_and_what_is_wrong_with_it_is_named() {
    let of = |engine: &str| parse_one(&document("ClusterMCPSettings", &format!("{{extAuthz: {engine}}}")));
    let least = of("{address: \"opa:9191\"}").unwrap().settings.ext_authz.unwrap();
    assert!(!least.include_arguments);
    assert_eq!(
        (least.engine.timeout, least.engine.on_failure),
        (Duration::from_millis(200), OnFailure::Closed)
    );
    let all = "{address: \"opa:9191\", tls: {}, timeout: 1s, failureMode: Open, includeArguments: true}";
    let all = of(all).unwrap().settings.ext_authz.unwrap();
    assert!(all.include_arguments && all.engine.tls.is_some());
    for (engine, problem) in [
        ("{}", "spec.extAuthz.address: is required, for example \"opa:9191\""),
        (
            "{address: opa}",
            "\"opa\" is not of the form host:port, for example \"opa:9191\"",
        ),
        (
            "{address: \"opa:9191\", includeArguments: yes please}",
            "spec.extAuthz.includeArguments: must be true or false",
        ),
        ("{address: \"opa:9191\", domain: a}", "unknown field \"domain\""),
    ] {
        let found = of(engine).expect_err(engine).lines();
        assert!(found.iter().any(|line| line.contains(problem)), "{engine}: {found:?}");
    }
}

#[test]
fn a_limit_of_the_cluster_has_a_window_that_the_service_counts_by() {
    for (per, unit) in [
        ("1s", Unit::Second),
        ("60s", Unit::Minute),
        ("1h", Unit::Hour),
        ("1d", Unit::Day),
    ] {
        let limit = format!("{{requests: 5, per: {per}, scope: Cluster}}");
        let desired = parse_one(&with_limit(&limit)).unwrap();
        assert_eq!(desired.policies[0].limits[0].scope, Scope::Cluster { unit, mode: None });
    }
    let desired = parse_one(&with_limit("{requests: 5, per: 1m, scope: Cluster, mode: Background}")).unwrap();
    let Scope::Cluster { mode, .. } = desired.policies[0].limits[0].scope else {
        panic!("{desired:?}")
    };
    assert_eq!(mode, Some(Asking::Background));
    for (limit, problem) in [
        (
            "{requests: 5, per: 2m, scope: Cluster}",
            "spec.limits[0].per: is no window of the rate limit service: with scope: Cluster it is 1s, 1m, 1h or 1d",
        ),
        (
            "{concurrency: 5, scope: Cluster}",
            "spec.limits[0].concurrency: is counted by each node for itself",
        ),
        (
            "{requests: 5, per: 1m, concurrency: 5, scope: Cluster}",
            "spec.limits[0].concurrency: is counted by each node for itself",
        ),
    ] {
        let found = problems(&with_limit(limit));
        assert!(found.iter().any(|line| line.contains(problem)), "{limit}: {found:?}");
    }
}

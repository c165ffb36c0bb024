//! Tokens on both paths: who gets in, what others are told, and that no token goes on to a server.

use std::path::PathBuf;

use serde_json::json;

use super::{session_server::SessionServer, *};
use crate::{
    identity::jwt::tests::signer::Signer,
    resources::{
        Algorithm, Authentication, Catalog, CatalogServer, ClaimNames, Demand, Expose, Gateway, Issuer, KeySource,
        OAuth, Settings,
    },
};

pub(super) const GATEWAY: &str = "10.9.9.9:8080";
const PUBLIC: &str = "https://mcp.example";

/// An issuer of users and one of ServiceAccounts, with one key.
pub(super) struct World {
    signer: Signer,
    pub(super) dir: tempfile::TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        let world = Self {
            signer: Signer::ed25519("k"),
            dir: tempfile::tempdir().unwrap(),
        };
        let document = json!({ "keys": [world.signer.jwk()] });
        std::fs::write(world.keys(), document.to_string()).unwrap();
        world
    }

    fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    fn issuer(&self, name: &str) -> Issuer {
        Issuer {
            issuer: name.into(),
            keys: KeySource::File(self.keys()),
            key_token: None,
            max_key_age: std::time::Duration::from_secs(3600),
            authorities: None,
            audiences: vec!["mcpgw".into()],
            algorithms: Algorithm::ALL.to_vec(),
            claims: ClaimNames::default(),
            clock_skew: std::time::Duration::ZERO,
            kubernetes: false,
            oauth: None,
        }
    }

    pub(super) fn settings(&self, mode: Authentication) -> Settings {
        let users = Issuer {
            oauth: Some(OAuth {
                scopes: vec!["mcp".into()],
            }),
            ..self.issuer("https://users.example")
        };
        let cluster = Issuer {
            kubernetes: true,
            ..self.issuer("https://cluster.example")
        };
        Settings {
            gateway: Some(Gateway {
                listen: vec![GATEWAY.parse().unwrap()],
                tls: None,
                allowed_origins: vec![],
                authentication: mode,
            }),
            public_url: Some(PUBLIC.into()),
            issuers: vec![Arc::new(users), Arc::new(cluster)],
            ..Settings::default()
        }
    }

    /// `Authorization` of a user.
    pub(super) fn user(&self, subject: &str) -> String {
        self.with(json!({"iss": "https://users.example", "sub": subject, "aud": "mcpgw", "scope": "openid mcp"}))
    }

    /// `Authorization` of a pod of the ServiceAccount `agents/ci`.
    pub(super) fn pod(&self, pod: &str) -> String {
        self.with(json!({
            "iss": "https://cluster.example", "sub": "system:serviceaccount:agents:ci", "aud": ["mcpgw"],
            "kubernetes.io": {
                "namespace": "agents", "serviceaccount": {"name": "ci"}, "pod": {"name": pod, "uid": "1"},
            },
        }))
    }

    pub(super) fn with(&self, claims: Value) -> String {
        self.lasting(600, claims)
    }

    /// `Authorization` with these claims, for so many seconds.
    pub(super) fn lasting(&self, seconds: u64, mut claims: Value) -> String {
        claims["exp"] = (crate::proxy::now() + seconds).into();
        format!("Authorization: Bearer {}\r\n", self.signer.token(&claims))
    }
}

/// A gateway with a server that everybody sees and one of the namespace `agents` alone; `policy` for both.
pub(super) async fn gateway(world: &World, mode: Authentication, policy: Option<Demand>) -> (Proxied, SessionServer) {
    let upstream = SessionServer::start().await;
    let at = |namespace: &str, server: &str, expose_to| Server {
        expose_to,
        ..Server::at(name(namespace, server), vec![upstream.address])
    };
    let mut own = at("agents", "own", Expose::Own);
    own.path = "/mcp".into();
    let policies = policy.map(|demand| {
        ["tools", "agents"].map(|namespace| {
            Arc::new(Policy {
                name: name(namespace, "p"),

                authentication: Some(demand.clone()),
                limits: vec![],
                rules: vec![],
                ..Policy::default()
            })
        })
    });
    let desired = Desired {
        generation: 1,
        settings: world.settings(mode),
        servers: vec![Arc::new(own), Arc::new(at("tools", "all", Expose::Everyone))],
        policies: policies.map(Vec::from).unwrap_or_default(),
        catalogs: vec![Arc::new(Catalog {
            name: name("tools", "office"),
            servers: vec![CatalogServer {
                server: name("tools", "all"),
                include: vec![],
                exclude: vec![],
            }],
        })],
        ..Desired::default()
    };
    let proxied = Proxied::start_with(desired, Some(GATEWAY.parse().unwrap())).await;
    let ready = |proxied: &Proxied| {
        let states = proxied.discovery.states();
        states.len() == 2 && states.values().all(|state| *state == crate::discovery::State::Ready)
    };
    for _ in 0..500 {
        if ready(&proxied) {
            return (proxied, upstream);
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("not all servers are known: {:?}", proxied.discovery.states());
}

pub(super) async fn list(proxied: &Proxied, headers: &str) -> Answer {
    Answer::of(
        &proxied
            .exchange(post(headers, r#"{"jsonrpc":"2.0","method":"tools/list","id":1}"#))
            .await,
    )
}

pub(super) fn tools(answer: &Answer) -> Vec<&str> {
    let tools = answer.body["result"]["tools"].as_array();
    let tools = tools.unwrap_or_else(|| panic!("{answer:?}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn without_a_token_a_client_is_told_which_one_it_needs() {
    let world = World::new();
    let (proxied, _server) = gateway(&world, Authentication::Token, None).await;
    let answer = list(&proxied, "").await;
    assert_eq!((answer.status, answer.code()), (401, Some(40100)));
    assert_eq!(
        answer.header("www-authenticate"),
        Some(
            "Bearer realm=\"mcpgw\", scope=\"mcp\", \
             resource_metadata=\"https://mcp.example/.well-known/oauth-protected-resource/mcp\""
        )
    );
    let basic = list(&proxied, "Authorization: Basic YTpi\r\n").await;
    assert_eq!(basic.status, 401);
    let twice = format!("{}{}", world.user("a"), world.user("a"));
    assert_eq!(list(&proxied, &twice).await.status, 400);
    let lines = proxied.finish().await;
    assert_eq!(
        lines
            .iter()
            .map(|line| line["reason"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["no_token", "no_token", "ambiguous_authorization"]
    );
}

#[tokio::test]
async fn a_bad_token_is_refused_with_the_reason_and_one_without_its_scope_with_403() {
    let world = World::new();
    let (proxied, _server) = gateway(&world, Authentication::Token, None).await;
    let claims = json!({"iss": "https://users.example", "sub": "a", "aud": "other", "scope": "mcp"});
    let elsewhere = list(&proxied, &world.with(claims.clone())).await;
    assert_eq!(elsewhere.status, 401);
    let challenge = elsewhere.header("www-authenticate").unwrap();
    assert!(
        challenge.contains(r#"error="invalid_token", error_description="the token is not meant for this audience""#),
        "{challenge}"
    );
    let mut unscoped = claims;
    unscoped["aud"] = PUBLIC.into();
    unscoped["scope"] = "openid".into();
    let unscoped = list(&proxied, &world.with(unscoped)).await;
    assert_eq!((unscoped.status, unscoped.code()), (403, Some(40300)));
    let challenge = unscoped.header("www-authenticate").unwrap();
    assert!(challenge.contains(r#"error="insufficient_scope""#), "{challenge}");
    assert!(challenge.contains(r#"scope="mcp""#), "{challenge}");
    let forged = list(&proxied, "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.\r\n").await;
    assert_eq!(forged.status, 401);
    let lines = proxied.finish().await;
    assert_eq!(lines[0]["reason"], "token_audience");
    // Whose it was is known, and nothing of the token itself is written.
    assert_eq!(lines[0]["identity"]["subject"], "a");
    assert_eq!(lines[0]["identity"]["issuer"], "https://users.example");
    assert_eq!(
        (&lines[1]["reason"], &lines[2]["reason"]),
        (&"token_scope".into(), &"token_algorithm".into())
    );
    assert!(!Value::from(lines).to_string().contains("eyJ"));
}

#[tokio::test]
async fn a_token_lets_in_and_what_is_seen_is_its_subjects() {
    let world = World::new();
    let (proxied, server) = gateway(&world, Authentication::Token, None).await;
    let stranger = proxied.unknown(GATEWAY.parse().unwrap()).await;
    assert_eq!(list(&stranger, "").await.status, 401);
    // A user is of no namespace; a ServiceAccount is of its own.
    assert_eq!(
        tools(&list(&stranger, &world.user("alice")).await),
        ["all_add", "all_big"]
    );
    let seen = list(&stranger, &world.pod("pod-9")).await;
    assert_eq!(tools(&seen), ["all_add", "all_big", "own_add", "own_big"]);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "all_add"}});
    let answer = Answer::of(&stranger.exchange(post(&world.user("alice"), &call.to_string())).await);
    assert!(answer.body["result"].is_object(), "{answer:?}");
    assert_eq!(server.called(), ["add"]);
    assert!(server.credentials().is_empty(), "{:?}", server.credentials());
    drop(stranger);
    let lines = proxied.finish().await;
    let call = lines.iter().find(|line| line["event"] == "tool_call").unwrap();
    assert_eq!(call["identity"]["subject"], "alice");
}

#[tokio::test]
async fn the_audience_is_the_public_url_with_the_path_that_was_asked() {
    let world = World::new();
    let (proxied, _server) = gateway(&world, Authentication::Token, None).await;
    let token = |audience: &str| {
        world.with(json!({"iss": "https://users.example", "sub": "a", "aud": audience, "scope": "mcp"}))
    };
    let asked = |path: &str, audience: &str| {
        let body = r#"{"jsonrpc":"2.0","method":"tools/list","id":1}"#;
        post(&token(audience), body).replacen("POST /mcp ", &format!("POST {path} "), 1)
    };
    for (path, audience, status) in [
        ("/mcp", "https://mcp.example", 200),
        ("/mcp", "https://mcp.example/mcp", 200),
        ("/mcp/", "https://mcp.example/mcp", 200),
        ("/mcp/office", "https://mcp.example/mcp/office", 200),
        ("/mcp/office", "https://mcp.example", 200),
        ("/mcp", "https://mcp.example/mcp/office", 401),
        ("/mcp/office", "https://mcp.example/mcp", 401),
        ("/mcp", "https://calc.tools.svc/mcp", 401),
    ] {
        let answer = Answer::of(&proxied.exchange(asked(path, audience)).await);
        assert_eq!(answer.status, status, "{path} {audience}");
    }
}

#[tokio::test]
async fn metadata_names_the_resource_by_the_public_url_and_never_by_the_host_header() {
    let world = World::new();
    let (proxied, _server) = gateway(&world, Authentication::Token, None).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    for (path, resource) in [("", ""), ("/mcp", "/mcp"), ("/mcp/office", "/mcp/office")] {
        let asked = get(&format!("/.well-known/oauth-protected-resource{path}"));
        let answer = Answer::of(&proxied.exchange(asked).await);
        let expected = json!({
            "resource": format!("{PUBLIC}{resource}"),
            "authorization_servers": ["https://users.example"],
            "scopes_supported": ["mcp"],
            "bearer_methods_supported": ["header"],
            "resource_name": "mcpgw",
        });
        assert_eq!((answer.status, answer.body), (200, expected));
    }
    for path in ["/mcp/nothing", "/x", "x"] {
        let asked = get(&format!("/.well-known/oauth-protected-resource{path}"));
        assert!(
            [401, 404].contains(&Answer::of(&proxied.exchange(asked).await).status),
            "{path}"
        );
    }
    assert_eq!(Answer::of(&proxied.exchange(get("/health")).await).status, 200);
}

#[tokio::test]
async fn a_token_of_another_pod_is_stolen_and_the_audit_log_says_so() {
    let world = World::new();
    let (proxied, _server) = gateway(&world, Authentication::AttestedAndToken, None).await;
    let stolen = list(&proxied, &world.pod("pod-2")).await;
    assert_eq!(stolen.status, 401);
    assert_eq!(list(&proxied, &world.pod("pod-1")).await.status, 200);
    assert_eq!(list(&proxied, &world.user("alice")).await.status, 200);
    assert_eq!(list(&proxied, "").await.status, 401);
    let stranger = proxied.unknown(GATEWAY.parse().unwrap()).await;
    assert_eq!(list(&stranger, &world.pod("pod-1")).await.status, 403);
    drop(stranger);
    let lines = proxied.finish().await;
    assert_eq!(lines[0]["reason"], "stolen_token");
    assert_eq!(lines[0]["identity"]["workload"], "pod-1");
    assert_eq!(lines[0]["identity"]["subject"], "system:serviceaccount:agents:ci");
    assert_eq!(
        (&lines[3]["reason"], &lines[4]["reason"]),
        (&"no_token".into(), &"not_attested".into())
    );
}

#[tokio::test]
async fn either_witness_is_enough_where_the_mode_says_so_but_a_bad_token_is_none() {
    let world = World::new();
    let (proxied, _server) = gateway(&world, Authentication::Any, None).await;
    assert_eq!(list(&proxied, "").await.status, 200);
    assert_eq!(list(&proxied, &world.user("alice")).await.status, 200);
    assert_eq!(list(&proxied, "Authorization: Bearer x\r\n").await.status, 401);
    let stranger = proxied.unknown(GATEWAY.parse().unwrap()).await;
    assert_eq!(list(&stranger, "").await.status, 401);
    assert_eq!(list(&stranger, &world.user("alice")).await.status, 200);
}

#[tokio::test]
async fn a_server_whose_policy_asks_for_more_is_not_there_for_those_who_have_less() {
    let world = World::new();
    let demand = Demand {
        mode: Authentication::Token,
        issuers: Some(vec!["https://cluster.example".into()]),
    };
    let (proxied, server) = gateway(&world, Authentication::Any, Some(demand)).await;
    assert!(tools(&list(&proxied, "").await).is_empty());
    assert!(tools(&list(&proxied, &world.user("alice")).await).is_empty());
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "all_add"}});
    let denied = Answer::of(&proxied.exchange(post(&world.user("alice"), &call.to_string())).await);
    assert_eq!(denied.body["error"]["message"], "Unknown tool: all_add");
    assert!(server.called().is_empty());
    assert_eq!(tools(&list(&proxied, &world.pod("pod-1")).await).len(), 4);
}

#[tokio::test]
async fn a_session_belongs_to_the_subject_that_opened_it_and_survives_a_new_token() {
    let world = World::new();
    let (proxied, _server) = gateway(&world, Authentication::Token, None).await;
    let initialize = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}},
    });
    let stranger = proxied.unknown(GATEWAY.parse().unwrap()).await;
    for caller in [&proxied, &stranger] {
        let opened = Answer::of(
            &caller
                .exchange(post(&world.user("alice"), &initialize.to_string()))
                .await,
        );
        let session = format!("Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap());
        let of = |user: &str| format!("{session}{}", world.user(user));
        let delete = |user: &str| {
            format!(
                "DELETE /mcp HTTP/1.1\r\nHost: a\r\n{}Connection: close\r\n\r\n",
                of(user)
            )
        };
        assert_eq!(list(caller, &of("bob")).await.status, 404);
        assert_eq!(Answer::of(&caller.exchange(delete("bob")).await).status, 404);
        let renewed = json!({"iss": "https://users.example", "sub": "alice", "aud": PUBLIC, "scope": "mcp", "n": 2});
        assert_eq!(
            list(caller, &format!("{session}{}", world.with(renewed))).await.status,
            200
        );
        assert_eq!(Answer::of(&caller.exchange(delete("alice")).await).status, 200);
        assert_eq!(list(caller, &of("alice")).await.status, 404);
    }
}

/// The server of `desired`, dialled itself, with a policy that asks for this.
pub(super) async fn dialled(world: &World, mode: Option<Authentication>) -> (Proxied, SessionServer) {
    let server = SessionServer::start().await;
    let mut desired = desired(server.address);
    desired.settings = Settings {
        gateway: None,
        ..world.settings(Authentication::Token)
    };
    desired.policies = mode
        .map(|mode| {
            Arc::new(Policy {
                name: name("tools", "tokens"),

                authentication: Some(Demand { mode, issuers: None }),
                limits: vec![],
                rules: vec![],
                ..Policy::default()
            })
        })
        .into_iter()
        .collect();
    (Proxied::start_with(desired, Some(server.address)).await, server)
}

pub(super) fn call_with(headers: &str) -> String {
    post(headers, &call("add"))
}

#[tokio::test]
async fn a_direct_dial_keeps_its_own_credentials_unless_a_policy_asks_for_a_token() {
    let world = World::new();
    let (proxied, server) = dialled(&world, None).await;
    let own = "Authorization: Bearer the-servers-own\r\nCookie: a=b\r\n";
    assert_eq!(Answer::of(&proxied.exchange(call_with(own)).await).status, 200);
    assert_eq!(server.credentials(), ["Bearer the-servers-own"]);

    let (proxied, server) = dialled(&world, Some(Authentication::Token)).await;
    let missing = Answer::of(&proxied.exchange(call_with("")).await);
    assert_eq!(missing.status, 401);
    // Its URL is the server's, of which there is no metadata of ours.
    assert_eq!(
        missing.header("www-authenticate"),
        Some("Bearer realm=\"mcpgw\", scope=\"mcp\"")
    );
    assert_eq!(Answer::of(&proxied.exchange(call_with(own)).await).status, 401);
    assert_eq!(
        Answer::of(&proxied.exchange(call_with(&world.user("alice"))).await).status,
        200
    );
    assert!(server.credentials().is_empty(), "{:?}", server.credentials());
    assert_eq!(server.called(), ["add"]);
}

#[tokio::test]
async fn a_direct_dial_comes_with_its_origin_for_the_server_to_judge() {
    let world = World::new();
    let (proxied, server) = dialled(&world, None).await;
    let origin = "Origin: https://elsewhere.example\r\n";
    assert_eq!(Answer::of(&proxied.exchange(call_with(origin)).await).status, 200);
    let seen = ("origin".to_owned(), "https://elsewhere.example".to_owned());
    assert!(server.headers().contains(&seen), "{:?}", server.headers());
    let twice = format!("{origin}Origin: null\r\n");
    assert_eq!(Answer::of(&proxied.exchange(call_with(&twice)).await).status, 400);
    assert_eq!(server.called().len(), 1);
}

#[tokio::test]
async fn a_stolen_token_is_refused_on_the_redirected_path_too() {
    let world = World::new();
    let (proxied, server) = dialled(&world, Some(Authentication::AttestedAndToken)).await;
    let stolen = Answer::of(&proxied.exchange(call_with(&world.pod("pod-2"))).await);
    assert_eq!(stolen.status, 401);
    assert_eq!(
        Answer::of(&proxied.exchange(call_with(&world.pod("pod-1"))).await).status,
        200
    );
    assert!(server.credentials().is_empty());
    let lines = proxied.finish().await;
    assert_eq!(lines[0]["reason"], "stolen_token");
}

#[tokio::test]
async fn a_session_at_a_server_itself_belongs_to_the_subject_too() {
    let world = World::new();
    let (proxied, server) = dialled(&world, Some(Authentication::Token)).await;
    let initialize = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}},
    });
    let opened = Answer::of(
        &proxied
            .exchange(post(&world.user("alice"), &initialize.to_string()))
            .await,
    );
    let session = format!("Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap());
    let of = |user: &str| format!("{session}{}", world.user(user));
    assert_eq!(Answer::of(&proxied.exchange(call_with(&of("bob"))).await).status, 404);
    let delete = format!(
        "DELETE /mcp HTTP/1.1\r\nHost: a\r\n{}Connection: close\r\n\r\n",
        of("bob")
    );
    assert_eq!(Answer::of(&proxied.exchange(delete).await).status, 404);
    assert!(server.called().is_empty());
    assert_eq!(Answer::of(&proxied.exchange(call_with(&of("alice"))).await).status, 200);
}

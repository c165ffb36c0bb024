//! What clients who only listen hear of servers that come, go, or become others.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use super::{
    Proxied,
    cancellation::session,
    gateway::{ask, desired, request, start},
    hearing::{takes, updates},
    listening::{listen_to, stream},
    live_server::LiveServer,
    name, read_until,
    reload::put_in_force,
};
use crate::resources::{Action, Desired, Pattern, Policy, Rule, Server};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// All that came on a stream so far.
struct Heard {
    stream: TcpStream,
    text: String,
}

impl Heard {
    fn on(stream: TcpStream) -> Self {
        Self {
            stream,
            text: String::new(),
        }
    }

    fn times(&self, list: &str) -> usize {
        self.text.matches(&format!("notifications/{list}/list_changed")).count()
    }

    /// Reads until it was told of changes of tools and of resources so often; of both no more often than that.
    async fn is_told(&mut self, tools: usize, resources: usize) {
        self.reads_until(|heard| heard.times("tools") >= tools && heard.times("resources") >= resources)
            .await;
        assert_eq!(
            (self.times("tools"), self.times("resources"), self.times("prompts")),
            (tools, resources, 0),
            "{:?}",
            self.text
        );
    }

    async fn reads_until(&mut self, enough: impl Fn(&Self) -> bool) {
        let mut bytes = [0; 4096];
        while !enough(self) {
            let read = timeout(PATIENCE, self.stream.read(&mut bytes)).await;
            let read = read.unwrap_or_else(|_| panic!("not told: {:?}", self.text)).unwrap();
            assert!(read > 0, "the stream ended: {:?}", self.text);
            self.text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    }
}

/// A legacy client and a modern one, who listen to all lists, and to these resources.
async fn listeners(proxied: &Proxied, uris: &[&str]) -> [Heard; 2] {
    let session = session(proxied).await;
    for uri in uris {
        let subscribe = request("resources/subscribe", json!({ "uri": uri }));
        assert_eq!(ask(proxied, &session, &subscribe).await.code(), None);
    }
    let legacy = stream(proxied, &session).await;
    let wanted = json!({
        "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
        "resourceSubscriptions": uris,
    });
    let (modern, _) = listen_to(proxied, 1, wanted).await;
    [Heard::on(legacy), Heard::on(modern)]
}

fn in_generation(generation: u64, desired: Desired) -> Desired {
    Desired { generation, ..desired }
}

#[tokio::test]
async fn a_client_is_told_once_which_of_its_lists_a_new_plan_changes_and_nothing_where_it_changes_none() {
    let (one, other) = (LiveServer::start().await, LiveServer::start().await);
    let proxied = start(desired(&[one.address])).await;
    let uri = one.uri("a");
    let mut listeners = listeners(&proxied, &[&uri]).await;
    let both = || desired(&[one.address, other.address]);
    // A server comes.
    put_in_force(&proxied, &in_generation(2, both()));
    for listener in &mut listeners {
        listener.is_told(1, 1).await;
    }
    // Its tools get other names.
    let mut renamed = in_generation(3, both());
    Arc::make_mut(&mut renamed.servers[1]).prefix = "other_".into();
    put_in_force(&proxied, &renamed);
    for listener in &mut listeners {
        listener.is_told(2, 1).await;
    }
    // Nothing is another.
    renamed.generation = 4;
    put_in_force(&proxied, &renamed);
    for (session, _) in one.gets("resources/subscribe", 2).await {
        one.is_heard_in(&session).await;
        one.update(&session, &uri);
    }
    for listener in &mut listeners {
        // What the plan has to say is said before this comes.
        listener.reads_until(|heard| heard.text.contains(&uri)).await;
        listener.is_told(2, 1).await;
    }
    // One tool is hidden.
    let rule = |action, tool: &str| Rule {
        tools: vec![Pattern::new(tool).unwrap()],
        ..Rule::new(action)
    };
    renamed.generation = 5;
    renamed.policies = vec![Arc::new(Policy {
        name: name("tools", "p"),
        rules: vec![
            rule(Action::Deny, "hang"),
            rule(Action::Allow, "*"),
            Rule {
                resources: vec![Pattern::new("**").unwrap()],
                ..Rule::new(Action::Allow)
            },
        ],
        ..Policy::default()
    })];
    put_in_force(&proxied, &renamed);
    for listener in &mut listeners {
        listener.is_told(3, 1).await;
    }
    // A server goes.
    renamed.generation = 6;
    renamed.servers.truncate(1);
    put_in_force(&proxied, &renamed);
    for listener in &mut listeners {
        listener.is_told(4, 2).await;
    }
}

#[tokio::test]
async fn a_client_is_told_of_no_server_that_it_does_not_see() {
    let (one, hidden) = (LiveServer::start().await, LiveServer::start().await);
    let proxied = start(desired(&[one.address])).await;
    let uri = one.uri("a");
    let mut listeners = listeners(&proxied, &[&uri]).await;
    let mut both = in_generation(2, desired(&[one.address, hidden.address]));
    Arc::make_mut(&mut both.servers[1]).expose_to = Server::at(name("tools", "b"), vec![]).expose_to;
    put_in_force(&proxied, &both);
    proxied.knows(2).await;
    put_in_force(&proxied, &in_generation(3, desired(&[one.address])));
    for (session, _) in one.gets("resources/subscribe", 2).await {
        one.is_heard_in(&session).await;
        one.update(&session, &uri);
    }
    for listener in &mut listeners {
        // What there is to say of the other one is said before this comes.
        listener.reads_until(|heard| heard.text.contains(&uri)).await;
        listener.is_told(0, 0).await;
    }
    // It hears of the one that it sees.
    let mut renamed = in_generation(4, desired(&[one.address]));
    Arc::make_mut(&mut renamed.servers[0]).prefix = "other_".into();
    put_in_force(&proxied, &renamed);
    for listener in &mut listeners {
        listener.is_told(1, 0).await;
    }
}

#[tokio::test]
async fn those_who_only_listen_hear_a_server_where_it_has_moved() {
    let (here, there) = (LiveServer::start().await, LiveServer::start().await);
    let proxied = start(desired(&[here.address])).await;
    let uri = here.uri("a");
    let session = session(&proxied).await;
    let subscribe = request("resources/subscribe", json!({ "uri": uri }));
    assert_eq!(ask(&proxied, &session, &subscribe).await.code(), None);
    let mut legacy = stream(&proxied, &session).await;
    let (mut modern, _) = listen_to(&proxied, 1, json!({ "resourceSubscriptions": [uri] })).await;
    let before = here.gets("resources/subscribe", 2).await;
    for (session, _) in &before {
        here.is_heard_in(session).await;
    }
    put_in_force(&proxied, &in_generation(2, desired(&[there.address])));
    for (session, _) in &before {
        here.is_unheard_in(session).await;
    }
    for (session, _) in there.gets("resources/subscribe", 2).await {
        there.is_heard_in(&session).await;
        there.update(&session, &uri);
    }
    read_until(&mut modern, &uri).await;
    read_until(&mut legacy, &uri).await;
}

#[tokio::test]
async fn a_subscription_at_a_modern_server_goes_with_it_where_it_moves() {
    let (here, there) = (LiveServer::modern().await, LiveServer::modern().await);
    let proxied = start(desired(&[here.address])).await;
    let uri = here.uri("a");
    let session = session(&proxied).await;
    let mut client = stream(&proxied, &session).await;
    let (subscription, subscribe) = (json!("listen"), request("resources/subscribe", json!({ "uri": uri })));
    let (answer, ()) = tokio::join!(ask(&proxied, &session, &subscribe), takes(&here));
    assert_eq!(answer.code(), None);
    put_in_force(&proxied, &in_generation(2, desired(&[there.address])));
    takes(&there).await;
    assert!(!here.is_waiting(&subscription));
    updates(&there, &uri).await;
    read_until(&mut client, &uri).await;
}

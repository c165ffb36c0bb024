//! What servers want to know of clients: who is asked, who cannot be, and what becomes of a question.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    cancellation::{BOTH, modern, send, session},
    gateway::{ask, desired, start},
    live_server::LiveServer,
    read_until, shared_sessions,
};
use crate::{policy::Plan, proxy::gateway::limits::MAX_DECLINED_AT_A_TIME, resources::Expose};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn wait(id: u32) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "a_wait", "arguments": {}}})
}

fn question(id: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": {"message": "Who?"}})
}

fn taken_back(id: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id, "reason": "late"}})
}

/// The first event's message.
fn said(text: &str) -> Value {
    let (_, data) = text.split_once("data: ").unwrap();
    serde_json::from_str(data.split('\n').next().unwrap()).unwrap()
}

#[tokio::test]
async fn a_question_is_taken_back_by_the_name_that_the_client_knows_it_by() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let session = session(&proxied).await;
    let mut client = send(&proxied, &format!("{BOTH}{session}"), &wait(1)).await;
    server.gets("tools/call", 1).await;
    server.say_of(&json!(1), &question("q")).await;
    let asked = said(&read_until(&mut client, "\n\n").await);
    let mut hears = Vec::new();
    for id in ["q", "p"] {
        server.say_of(&json!(1), &taken_back(id)).await;
        hears.push(said(&read_until(&mut client, "\n\n").await)["params"]["requestId"].clone());
    }
    assert_eq!(hears[0], asked["id"]);
    assert_ne!(hears[0], "q");
    assert_ne!(hears[1], hears[0], "another question is another");
}

#[tokio::test]
async fn who_cannot_be_asked_hears_of_no_question_and_of_none_that_is_taken_back() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let mut client = shared_sessions::wait(&proxied, 5, json!({})).await;
    let (_, call) = server.gets("tools/call", 1).await.remove(0);
    for said in [question("q"), taken_back("q")] {
        server.say_of(&call["id"], &said).await;
    }
    let answer = json!({"jsonrpc": "2.0", "id": call["id"], "result": {"content": []}});
    server.say_of(&call["id"], &answer).await;
    let heard = read_until(&mut client, "\"id\":5").await;
    assert!(
        !heard.contains("elicitation") && !heard.contains("cancelled"),
        "{heard}"
    );
}

#[tokio::test]
async fn a_call_ends_at_once_whose_server_asks_a_client_that_cannot_be_asked() {
    let server = LiveServer::modern().await;
    let proxied = start(desired(&[server.address])).await;
    let mut client = send(&proxied, BOTH, &wait(3)).await;
    server.gets("tools/call", 1).await;
    let who = json!({"method": "elicitation/create", "params": {"message": "Who?"}});
    let result = json!({"resultType": "input_required", "inputRequests": {"who": who}, "requestState": "s"});
    server
        .say_of(&json!(3), &json!({"jsonrpc": "2.0", "id": 3, "result": result}))
        .await;
    let heard = said(&read_until(&mut client, "\n\n").await);
    assert_eq!((&heard["id"], &heard["error"]["code"]), (&3.into(), &4090.into()));
    assert_eq!(server.got("tools/call").len(), 1);
    let lines = proxied.finish().await;
    assert_eq!(lines[0]["outcome"], "error");
}

#[tokio::test]
async fn a_server_that_wants_its_state_only_gets_it_and_nobody_is_asked() {
    let server = LiveServer::modern().await;
    let proxied = start(desired(&[server.address])).await;
    for (number, headers) in [BOTH, ""].into_iter().enumerate() {
        let mut client = send(&proxied, headers, &wait(3)).await;
        server.gets("tools/call", 2 * number + 1).await;
        let result = json!({"resultType": "input_required", "requestState": "s"});
        server
            .say_of(&json!(3), &json!({"jsonrpc": "2.0", "id": 3, "result": result}))
            .await;
        let again = server.gets("tools/call", 2 * number + 2).await.pop().unwrap().1;
        assert_eq!(again["params"]["requestState"], "s");
        let result = json!({"resultType": "complete", "content": [{"type": "text", "text": "there"}]});
        server
            .say_of(
                &again["id"],
                &json!({"jsonrpc": "2.0", "id": again["id"], "result": result}),
            )
            .await;
        let heard = read_until(&mut client, "there").await;
        assert!(heard.contains("\"id\":3"), "{heard}");
        server.forget_calls();
    }
}

#[tokio::test]
async fn a_server_that_its_caller_no_longer_sees_hears_nothing_more_of_it() {
    let server = LiveServer::start().await;
    let mut desired = desired(&[server.address]);
    let proxied = start(desired.clone()).await;
    let session = session(&proxied).await;
    let mut client = send(&proxied, &format!("{BOTH}{session}"), &wait(1)).await;
    server.gets("tools/call", 1).await;
    let mut questions = Vec::new();
    for id in ["q1", "q2"] {
        server.say_of(&json!(1), &question(id)).await;
        questions.push(said(&read_until(&mut client, "\n\n").await)["id"].clone());
    }
    let answer = |id: &Value| json!({"jsonrpc": "2.0", "id": id, "result": {"action": "decline"}});
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
    assert_eq!(ask(&proxied, &session, &answer(&questions[0])).await.status, 202);
    ask(&proxied, &session, &changed).await;
    server.gets("notifications/roots/list_changed", 1).await;
    desired.generation += 1;
    Arc::make_mut(&mut desired.servers[0]).expose_to = Expose::Own;
    proxied.plan.store(Arc::new(Plan::compile(&desired)));
    assert_eq!(ask(&proxied, &session, &answer(&questions[1])).await.status, 404);
    ask(&proxied, &session, &changed).await;
    let level = json!({"jsonrpc": "2.0", "id": 9, "method": "logging/setLevel", "params": {"level": "info"}});
    assert_eq!(ask(&proxied, &session, &level).await.code(), None);
    assert_eq!(server.got("notifications/roots/list_changed").len(), 1);
    assert!(server.got("logging/setLevel").is_empty());
    assert_eq!(server.answers(), ["q1"]);
}

#[tokio::test]
async fn a_server_that_asks_much_where_nobody_can_be_asked_is_told_so_only_as_fast_as_it_listens() {
    let server = LiveServer::start().await;
    let proxied = start(desired(&[server.address])).await;
    let mut client = shared_sessions::wait(&proxied, 5, json!({})).await;
    let (_, call) = server.gets("tools/call", 1).await.remove(0);
    let ping = |id: usize| json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
    server.is_deaf(true);
    for id in 0..MAX_DECLINED_AT_A_TIME * 2 {
        server.say_of(&call["id"], &ping(id)).await;
    }
    let said = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    server.say_of(&call["id"], &said).await;
    read_until(&mut client, "list_changed").await;
    // By now each has been declined, or not.
    let declined = async {
        while server.answers().len() < MAX_DECLINED_AT_A_TIME {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, declined).await.unwrap();
    let (headers, add) = modern(
        6,
        "tools/call",
        Some("a_add"),
        json!({"name": "a_add", "arguments": {}}),
    );
    assert_eq!(ask(&proxied, &headers, &add).await.code(), None);
    assert_eq!(server.answers().len(), MAX_DECLINED_AT_A_TIME);
    // It is not waited for very long.
    server.is_deaf(false);
    let declined_again = async {
        let mut ids = 1_000..;
        while server.answers().len() == MAX_DECLINED_AT_A_TIME {
            server.say_of(&call["id"], &ping(ids.next().unwrap())).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, declined_again).await.unwrap();
}

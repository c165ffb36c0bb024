//! Who sees which server at the gateway.

use std::sync::Arc;

use serde_json::json;

use super::{
    Answer,
    gateway::{ask, desired, request, start, tools},
    reload::put_in_force,
    session_server::SessionServer,
};
use crate::resources::{Desired, Expose, LabelSelector, Labels, Namespaces};

#[tokio::test]
async fn a_server_is_seen_by_its_own_namespace_and_those_that_it_is_exposed_to() {
    let (a, b) = (SessionServer::start().await, SessionServer::start().await);
    let mut desired = desired(&[a.address, b.address]);
    let mut own = (*desired.servers[1]).clone();
    own.expose_to = Expose::Own;
    desired.servers[1] = Arc::new(own);
    let proxied = start(desired).await;
    assert_eq!(
        tools(&ask(&proxied, "", &request("tools/list", json!({}))).await),
        ["a_add", "a_big"]
    );
    let call = request("tools/call", json!({"name": "b_add"}));
    assert_eq!(ask(&proxied, "", &call).await.code(), Some(-32602));
    assert!(b.called().is_empty());
}

/// What `tools/b` is exposed by, and what labels the caller's namespace has.
fn by_labels(behind: &Desired, wanted: &str, has: &[(&str, &str)]) -> Desired {
    let labels = |pairs: &[(&str, &str)]| -> Labels {
        let own = |(key, value): &(&str, &str)| ((*key).into(), (*value).into());
        pairs.iter().map(own).collect()
    };
    let mut desired = behind.clone();
    desired.generation += 1;
    Arc::make_mut(&mut desired.servers[1]).expose_to = Expose::Selected {
        by: LabelSelector {
            labels: labels(&[("team", wanted)]),
            expressions: vec![],
        },
        within: Namespaces::All,
    };
    desired.namespaces = Arc::new([("agents".into(), labels(has))].into());
    desired
}

#[tokio::test]
async fn a_server_is_seen_by_namespaces_with_its_labels_until_they_have_others() {
    let (a, b) = (SessionServer::start().await, SessionServer::start().await);
    let behind = desired(&[a.address, b.address]);
    let mut now = by_labels(&behind, "blue", &[("team", "red")]);
    let proxied = start(now.clone()).await;
    let list = request("tools/list", json!({}));
    let call = |tool: &str| request("tools/call", json!({"name": tool, "arguments": {}}));
    for has in [&[("team", "red")][..], &[], &[("team", "blue")], &[("tier", "blue")]] {
        now = by_labels(&now, "blue", has);
        put_in_force(&proxied, &now);
        let sees = has.contains(&("team", "blue"));
        let expected = match sees {
            true => &["a_add", "a_big", "b_add", "b_big"][..],
            false => &["a_add", "a_big"],
        };
        assert_eq!(tools(&ask(&proxied, "", &list).await), expected, "{has:?}");
        let calls = b.called().len();
        let answer = ask(&proxied, "", &call("b_add")).await;
        assert_eq!(b.called().len(), calls + usize::from(sees), "{has:?}");
        if !sees {
            // As one of a server that does not exist, but for what it was called and the id of the decision.
            let unknown = ask(&proxied, "", &call("c_add")).await;
            let form = |answer: &Answer| {
                let mut error = answer.body["error"].clone();
                let id = error["data"]["decisionId"].take();
                assert!(id.is_string(), "{answer:?}");
                (answer.status, error.to_string().replace("c_add", "b_add"))
            };
            assert_eq!(form(&answer), form(&unknown));
            assert_eq!(answer.body["error"]["message"], "Unknown tool: b_add");
        }
    }
}

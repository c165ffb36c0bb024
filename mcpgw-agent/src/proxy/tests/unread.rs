//! TLS that goes on unread, and outlives the plan that let it.

use std::sync::Arc;

use tokio::io::AsyncReadExt;

use super::{
    Proxied,
    tls::{Files, rule, secure, with},
    upstreams::Scripted,
};
use crate::{
    policy::Plan,
    proxy::Tls,
    resources::{Action, ClientTls},
};

#[tokio::test]
async fn tls_that_goes_through_unread_ends_with_the_plan_that_let_it() {
    let (files, connector) = Files::new();
    let tls = Tls::open(&files.files).unwrap();
    let (scripted, address) = Scripted::start().await;
    let mut desired = with(address, ClientTls::Passthrough);
    Arc::make_mut(&mut desired.policies[0]).rules = vec![rule(Action::Allow, None, "agents")];
    let proxied = Proxied::start_with(desired.clone(), Some(address)).await;
    let server = async { tls.accept(scripted.connection().await).await.unwrap() };
    let (client, _server) = tokio::join!(secure(&proxied, &connector), server);
    Arc::make_mut(&mut desired.policies[0]).rules = vec![rule(Action::Deny, None, "agents")];
    proxied.plan.store(Arc::new(Plan::compile(&desired)));
    // It breaks off without a farewell, which TLS takes for an error.
    assert!(client.unwrap().read_to_end(&mut Vec::new()).await.is_err());
    let lines = proxied.finish().await;
    let ended = lines.iter().find(|line| line["event"] == "stream_ended");
    assert_eq!(ended.unwrap()["reason"], "denied", "{lines:?}");
}

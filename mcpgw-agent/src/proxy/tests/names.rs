//! Two servers that come to the same names.

use std::sync::Arc;

use serde_json::json;

use super::{
    gateway::{ask, desired, request, start},
    name,
    session_server::SessionServer,
};
use crate::resources::{Authentication, Expose};

#[tokio::test]
async fn a_name_that_two_servers_have_is_the_firsts_and_told_of_the_other_where_anybody_sees_both() {
    let (first, second) = (SessionServer::start().await, SessionServer::start().await);
    let own = [Expose::Own, Expose::Own];
    let shared = |namespace: &str| Expose::Namespaces(vec![namespace.into()]);
    for (exposed, authentication, clash) in [
        ([Expose::Everyone, Expose::Everyone], Authentication::Attested, true),
        ([Expose::Everyone, Expose::Own], Authentication::Attested, true),
        ([shared("agents"), shared("agents")], Authentication::Attested, true),
        ([shared("other"), Expose::Own], Authentication::Attested, true),
        ([shared("agents"), shared("elsewhere")], Authentication::Attested, false),
        (own.clone(), Authentication::Attested, false),
        (own, Authentication::None, true),
    ] {
        let mut desired = desired(&[first.address, second.address]);
        desired.settings.gateway.as_mut().unwrap().authentication = authentication;
        let [a, b] = exposed;
        for (server, (namespace, expose_to)) in desired.servers.iter_mut().zip([("tools", a), ("other", b)]) {
            let server = Arc::make_mut(server);
            server.name = name(namespace, "calc");
            server.prefix = "calc_".into();
            server.expose_to = expose_to;
        }
        // As they are read: by namespace and name.
        desired.servers.reverse();
        let proxied = start(desired.clone()).await;
        let offers = proxied.discovery.offers(&desired);
        let problems: Vec<_> = offers
            .iter()
            .map(|offers| (&*offers.server, offers.problems.len()))
            .collect();
        let told = if clash { 2 } else { 0 };
        assert_eq!(problems, [("other/calc", 0), ("tools/calc", told)], "{offers:?}");
        if clash {
            let problem = "PrefixConflict: calc_add is a name of other/calc already; give one of them another prefix";
            assert_eq!(offers[1].problems[0], problem);
        }
        let listed = ask(&proxied, "", &request("tools/list", json!({}))).await;
        let tools = listed.body["result"]["tools"].as_array().unwrap();
        let both = desired
            .servers
            .iter()
            .all(|server| server.expose_to == Expose::Everyone);
        if both {
            assert_eq!(tools.len(), 2, "{listed:?}");
            let call = request("tools/call", json!({"name": "calc_add", "arguments": {}}));
            assert_eq!(ask(&proxied, "", &call).await.status, 200);
            assert_eq!((first.called().len(), second.called().len()), (0, 1));
        }
    }
}

//! What servers are shown.

use super::*;

fn server_with(credential: &str) -> String {
    let spec = format!("{{backend: {{addresses: [\"10.0.0.5:1\"]}}, credential: {credential}}}");
    document("MCPServer", &spec)
}

fn credential(text: &str) -> Credential {
    let found = parse_one(&server_with(text)).unwrap_or_else(|problems| panic!("{problems}"));
    found.servers[0].credential.as_deref().unwrap().clone()
}

#[test]
fn every_kind_arrives_with_every_field() {
    assert_eq!(
        credential("{bearer: {file: /t}}"),
        Credential::Bearer { file: "/t".into() }
    );
    let header = Credential::Header {
        name: http::HeaderName::from_static("x-api-key"),
        file: "/k".into(),
    };
    assert_eq!(credential("{header: {name: X-Api-Key, file: /k}}"), header);
    let endpoint = TokenEndpoint {
        url: "https://idp.example/token".into(),
        client_id: "mcpgw".into(),
        client_secret: "/s".into(),
        scopes: vec!["a".into(), "b".into()],
        audience: Some("calc".into()),
        authorities: Some("/ca.pem".into()),
    };
    let fields = "{tokenUrl: \"https://idp.example/token\", clientId: mcpgw, clientSecretFile: /s, scopes: [a, b], \
                  audience: calc, ca: {file: /ca.pem}}";
    assert_eq!(
        credential(&format!("{{oauth2: {fields}}}")),
        Credential::OAuth2(endpoint.clone())
    );
    assert_eq!(
        credential(&format!("{{tokenExchange: {fields}}}")),
        Credential::TokenExchange(endpoint)
    );
}

#[test]
fn what_is_no_credential_is_refused() {
    for (text, field, reason) in [
        (
            "{}",
            "spec.credential",
            "must have exactly one of bearer, header, oauth2, tokenExchange",
        ),
        (
            "{bearer: {file: /a}, header: {name: x, file: /b}}",
            "spec.credential",
            "must have exactly one of",
        ),
        (
            "{bearer: {file: a}}",
            "spec.credential.bearer.file",
            "\"a\" is not a path",
        ),
        (
            "{header: {name: \"x y\", file: /k}}",
            "spec.credential.header.name",
            "\"x y\" is not the name",
        ),
        (
            "{header: {name: Mcp-Session-Id, file: /k}}",
            "spec.credential.header.name",
            "\"Mcp-Session-Id\" is a header that means something else",
        ),
        (
            "{header: {name: Host, file: /k}}",
            "spec.credential.header.name",
            "\"Host\" is a header",
        ),
        (
            "{oauth2: {tokenUrl: \"http://idp.example/token\", clientId: a, clientSecretFile: /s}}",
            "spec.credential.oauth2.tokenUrl",
            "\"http://idp.example/token\" is http",
        ),
        (
            "{oauth2: {tokenUrl: \"https://idp.example/token\", clientSecretFile: /s}}",
            "spec.credential.oauth2.clientId",
            "is required",
        ),
        (
            "{serviceAccountToken: {}}",
            "spec.credential.serviceAccountToken",
            "not supported yet",
        ),
    ] {
        let found = problems(&server_with(text));
        let expected = format!("{field}: {reason}");
        assert!(
            found.iter().any(|line| line.contains(&expected)),
            "{expected}\n{found:#?}"
        );
    }
}

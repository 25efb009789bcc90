use alpine_api::{ProtectedResource, WhoAmI};

use super::*;

async fn metadata(host: Option<&str>) -> Response {
    let mut request = Request::get("/.well-known/oauth-protected-resource");
    if let Some(host) = host {
        request = request.header(header::HOST, host);
    }
    send(&app(), request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn anybody_may_ask_where_a_token_is_to_be_had() {
    let answer = metadata(Some("alpine.test:8443")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let said: ProtectedResource = serde_json::from_slice(&to_bytes(answer.into_body(), 1 << 16).await.unwrap()).unwrap();
    assert_eq!(
        (said.resource.as_str(), said.authorization_servers.as_slice()),
        ("https://alpine.test:8443", &["https://issuer.test".to_owned()][..])
    );
    assert_eq!(said.alpine_login[0].client_id, "alpine-cli");
}

#[tokio::test]
async fn a_host_that_is_none_is_refused() {
    for host in [None, Some("a b"), Some("x@y"), Some("h/p")] {
        assert_eq!(metadata(host).await.status(), StatusCode::BAD_REQUEST, "{host:?}");
    }
}

#[tokio::test]
async fn the_caller_is_told_who_it_is_and_nobody_is_nobody() {
    let request = signed(Method::GET, "/v1/whoami").body(Body::empty()).unwrap();
    let answer = send(&app(), request).await;
    let said: WhoAmI = serde_json::from_slice(&to_bytes(answer.into_body(), 1 << 16).await.unwrap()).unwrap();
    assert_eq!((said.tenant.as_str(), said.principal_id.as_str(), said.method.as_str()), ("acme", "ann", "jwt"));
    assert_eq!(get_bare("/v1/whoami").await.status(), StatusCode::UNAUTHORIZED);
}

async fn get_bare(path: &str) -> Response {
    send(&app(), bare(Method::GET, path).body(Body::empty()).unwrap()).await
}

use alpine_api::CredentialId;

use super::*;

fn set(body: impl Into<Body>) -> Request<Body> {
    signed(Method::PUT, "/v1/credentials").header(header::CONTENT_TYPE, "application/json").body(body.into()).unwrap()
}

const PAST_EVERY_CHECK: u16 = 503;

#[tokio::test]
async fn credentials_are_checked_before_anything_is_done_and_never_repeated() {
    let app = app();
    for (body, status, cause) in [
        (json!({}), 422, "missing field `host`"),
        (json!({"host": "h"}), 422, "missing field `kind`"),
        (json!({"host": "h", "kind": "s3cr3t"}), 422, "wrong type or value: expected `token` or `deploy_key`"),
        (json!({"host": "h", "kind": "token", "token": "t", "passphrase": "s3cr3t"}), 422, "unknown field `passphrase`"),
        (json!({"host": "s3cr3t@h", "kind": "token", "token": "t"}), 422, "host must be a host name or address"),
        (json!({"host": "h", "kind": "token"}), 422, "a token needs `token`"),
        (json!({"host": "h", "kind": "token", "token": "s3cr3t\n1"}), 422, "token must be 1 to 4096 bytes"),
        (json!({"host": "h", "kind": "deploy_key", "token": "s3cr3t"}), 422, "a deploy key needs `private_key`"),
        (json!({"host": "h", "kind": "deploy_key", "private_key": "s3cr3t", "known_hosts": "s3cr3t"}), 422, "private_key must be"),
        (json!({"host": "h", "kind": "token", "token": "t"}), PAST_EVERY_CHECK, "the database is not available"),
        (json!({"host": "h", "kind": "token", "owner": "me", "token": "t"}), PAST_EVERY_CHECK, "the database is not available"),
    ] {
        let (got, code, said) = refusal(&app, set(body.to_string())).await;
        assert_eq!((got, said.starts_with(cause)), (status, true), "{body}: {said}");
        assert!(status == PAST_EVERY_CHECK || code == ErrorCode::InvalidRequest, "{body}");
        assert!(!said.contains("s3cr3t"), "{said}");
    }
}

#[tokio::test]
async fn a_malformed_credential_id_is_answered_like_an_absent_one() {
    let app = app();
    let other = CredentialId::generate().to_string().replace("cred_", "ses_");
    for id in ["x", "cred_", "cred_00", "%00", "%ff", other.as_str()] {
        let request = signed(Method::DELETE, &format!("/v1/credentials/{id}")).body(Body::empty()).unwrap();
        assert_eq!(refusal(&app, request).await, (404, ErrorCode::NotFound, "credential not found".into()), "{id}");
    }
}

#[tokio::test]
async fn no_secret_is_taken_over_plain_http_from_elsewhere() {
    let app = router(state_with(Settings { takes_secrets: false, ..Settings::default() }));
    let expected = (403, ErrorCode::Forbidden, "secrets are not taken over plain HTTP".to_owned());
    let token = json!({"host": "h", "kind": "token", "token": "t"}).to_string();
    assert_eq!(refusal(&app, set(token)).await, expected);
    let with_token = json!({"repo_url": "https://h/r", "branch": "main", "repo_token": "t"}).to_string();
    assert_eq!(refusal(&app, up(with_token)).await, expected);
    let public = json!({"repo_url": "https://h/r", "branch": "main", "public": true}).to_string();
    assert_eq!(refusal(&app, up(public)).await.0, PAST_EVERY_CHECK);
}

#[test]
fn every_answer_of_every_method_has_a_request_id() {
    let document = serde_json::to_value(crate::http::document()).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(response["headers"]["X-Request-Id"].is_object(), "{method} {path} {status}");
            }
        }
    }
}

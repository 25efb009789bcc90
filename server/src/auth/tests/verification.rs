//! Tokens, good and bad, one by one.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as B64};
use http::HeaderValue;
use jsonwebtoken::EncodingKey;
use serde_json::json;

use super::{fixtures::*, *};
use crate::domain::principal::Roles;

#[test]
fn a_good_token_of_each_algorithm_is_its_principal() {
    for (key, kid, issuer) in [
        ("rsa", None, "rsa"),
        ("ec", None, "ec"),
        ("ed", None, "ed"),
        ("hs", None, "hs"),
        ("ec", Some("one"), "set"),
        ("ec", None, "set"),
        ("ec", Some("other"), "several"),
    ] {
        let principal = now().ask(&headers(&signed(key, kid, &claims(issuer)))).unwrap();
        assert_eq!((principal.id.as_str(), principal.tenant.as_str(), principal.roles), ("ann", "acme", Roles::default()));
    }
}

#[test]
fn claims_may_take_every_form_that_the_standard_allows() {
    for changes in [
        json!({"aud": ["other", "alpine"]}),
        json!({"exp": NOW as f64 + 0.5}),
        json!({"nbf": NOW}),
        json!({"nbf": NOW as f64 - 0.5}),
        json!({"sub": "Ann Ünï|42@example.com"}),
        json!({"roles": 5}),
        json!({"jti": "x", "iat": NOW}),
    ] {
        let principal = now().ask(&headers(&hs(changes.clone()))).unwrap_or_else(|e| panic!("{changes}: {e}"));
        assert_eq!(principal.roles, Roles::default());
    }
    let scheme = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&format!("bEARER  {}", hs(json!({})))).unwrap())]);
    assert!(now().ask(&scheme).is_ok());
    for typ in ["jwt", "at+jwt", "JWT"] {
        assert!(now().ask(&headers(&forged(&json!({"alg": "HS256", "typ": typ}), &claims("hs"), SECRET))).is_ok());
    }
}

#[test]
fn the_role_is_read_from_a_list_or_from_words_and_only_whole() {
    for (roles, admin) in [
        (json!(["alpine.admin"]), true),
        (json!(["x", "alpine.admin"]), true),
        (json!("x alpine.admin y"), true),
        (json!("alpine.admin"), true),
        (json!("alpine.administrator"), false),
        (json!(["x alpine.admin"]), false),
        (json!([["alpine.admin"]]), false),
        (json!({"alpine.admin": true}), false),
        (json!(true), false),
        (json!("ALPINE.ADMIN"), false),
        (json!("alpine.operator"), false),
    ] {
        let principal = now().ask(&headers(&hs(json!({"roles": roles})))).unwrap();
        assert_eq!(principal.is_admin(), admin, "{roles}");
    }
}

#[test]
fn an_operator_is_read_as_an_admin_is_and_neither_is_the_other() {
    for (roles, admin, operator) in [
        (json!(["alpine.operator"]), false, true),
        (json!("alpine.operator alpine.admin"), true, true),
        (json!(["alpine.admin"]), true, false),
        (json!("alpine.operators"), false, false),
        (json!({"alpine.operator": true}), false, false),
        (Value::Null, false, false),
    ] {
        let claims = json!({"groups": roles});
        assert_eq!(claims::roles(claims.as_object().unwrap(), "groups"), Roles { admin, operator }, "{claims}");
        assert_eq!(claims::roles(claims.as_object().unwrap(), "roles"), Roles { admin: false, operator: false });
    }
}

#[test]
fn the_default_tenant_is_for_tokens_without_one_only() {
    let token = |changes| signed("hs", None, &with("lone", changes));
    let tenant = |changes| now().ask(&headers(&token(changes))).map(|p| p.tenant.to_string());
    assert_eq!(tenant(json!({"tenant": null})), Ok("everyone".into()));
    assert_eq!(tenant(json!({})), Ok("acme".into()));
    for bad in [json!(""), json!(5), json!(" acme"), json!("a\nb"), json!(["acme"])] {
        assert_eq!(tenant(json!({"tenant": bad})), Err(AuthError::Tenant), "{bad}");
    }
}

#[test]
fn a_token_lives_from_thirty_seconds_before_nbf_to_thirty_seconds_after_exp() {
    let token = hs(json!({"nbf": 1000, "exp": 2000}));
    for (time, expected) in [
        (969.999, Err(AuthError::NotYetValid)),
        (970.0, Ok(())),
        (2000.0, Ok(())),
        (2029.999, Ok(())),
        (2030.0, Err(AuthError::Expired)),
        (2031.0, Err(AuthError::Expired)),
    ] {
        assert_eq!(at(time).ask(&headers(&token)).map(|_| ()), expected, "at {time}");
    }
}

#[test]
fn bad_claims_are_nobody() {
    use AuthError::*;
    for (changes, error) in [
        (json!({"exp": null}), Claim("exp")),
        (json!({"exp": "1900000000"}), Claim("exp")),
        (json!({"exp": true}), Claim("exp")),
        (json!({"exp": [NOW + 5]}), Malformed),
        (json!({"exp": -1}), Claim("exp")),
        (json!({"exp": 0}), Expired),
        (json!({"exp": NOW - 30}), Expired),
        (json!({"exp": 1e300}), Claim("exp")),
        (json!({"nbf": NOW + 31}), NotYetValid),
        (json!({"nbf": "now"}), Claim("nbf")),
        (json!({"nbf": {}}), Claim("nbf")),
        (json!({"nbf": -5}), Claim("nbf")),
        (json!({"iss": null}), Claim("iss")),
        (json!({"iss": 7}), Claim("iss")),
        (json!({"iss": ["https://hs.test"]}), Claim("iss")),
        (json!({"iss": "https://hs.test/"}), Issuer),
        (json!({"iss": "https://evil.test"}), Issuer),
        (json!({"iss": ""}), Issuer),
        (json!({"aud": null}), Claim("aud")),
        (json!({"aud": 1}), Claim("aud")),
        (json!({"aud": "alpine2"}), Audience),
        (json!({"aud": ""}), Audience),
        (json!({"aud": []}), Audience),
        (json!({"aud": ["x"]}), Audience),
        (json!({"aud": ["alpine", 3]}), Claim("aud")),
        (json!({"aud": {"alpine": 1}}), Claim("aud")),
        (json!({"sub": null}), Claim("sub")),
        (json!({"sub": 12}), Claim("sub")),
        (json!({"sub": ["ann"]}), Malformed),
        (json!({"sub": ""}), Subject),
        (json!({"sub": " "}), Subject),
        (json!({"sub": "ann "}), Subject),
        (json!({"sub": "ann\nbob"}), Subject),
        (json!({"sub": "ann\u{0}"}), Subject),
        (json!({"sub": "x".repeat(256)}), Subject),
        (json!({"sub": "system"}), Subject),
        (json!({"tenant": null}), Tenant),
        (json!({"tenant": ""}), Tenant),
        (json!({"tenant": 3}), Tenant),
        (json!({"tenant": "a\tb"}), Tenant),
    ] {
        assert_eq!(refused(&hs(changes.clone())), error, "{changes}");
    }
    // What no `Value` can say.
    for raw in ["null", "[]", "\"x\"", "{}x", "{\"iss\":\"https://hs.test\",\"iss\":\"https://rsa.test\"}"] {
        let message = format!("{}.{}", B64.encode(r#"{"alg":"HS256"}"#), B64.encode(raw));
        let key = EncodingKey::from_secret(SECRET);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
        assert!(now().ask(&headers(&format!("{message}.{signature}"))).is_err(), "{raw}");
    }
}

#[test]
fn forged_signatures_and_confused_algorithms_are_nobody() {
    use AuthError::*;
    let good = signed("rsa", None, &claims("rsa"));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let public_pem = std::fs::read(KEYS.path("rsa.pem")).unwrap();
    let unsigned = |alg: &str| format!("{}.{}.", B64.encode(json!({"alg": alg}).to_string()), B64.encode(claims("rsa").to_string()));
    let other_claims = B64.encode(with("rsa", json!({"sub": "bob"})).to_string());
    let es = signed("ec", None, &claims("ec"));
    let jwk = json!({"alg": "HS256", "jwk": {"kty": "oct", "k": B64.encode(SECRET)}});
    for (what, token, error) in [
        ("alg none", unsigned("none"), Malformed),
        ("alg None", unsigned("None"), Malformed),
        ("alg empty", unsigned(""), Malformed),
        ("no signature", unsigned("RS256"), Signature),
        ("HS256 with the RSA public key", forged(&json!({"alg": "HS256"}), &claims("rsa"), &public_pem), Algorithm),
        ("said to be RS256", forged(&json!({"alg": "RS256"}), &claims("rsa"), &public_pem), Signature),
        ("RS384 in the family", forged(&json!({"alg": "RS384"}), &claims("rsa"), &public_pem), Algorithm),
        ("PS256 in the family", forged(&json!({"alg": "PS256"}), &claims("rsa"), &public_pem), Algorithm),
        ("HS512 where HS256 is pinned", forged(&json!({"alg": "HS512"}), &claims("hs"), SECRET), Algorithm),
        ("no alg", forged(&json!({"typ": "JWT"}), &claims("hs"), SECRET), Malformed),
        ("another secret", forged(&json!({"alg": "HS256"}), &claims("hs"), b"fedcba9876543210fedcba9876543210"), Signature),
        ("its own key in the header", forged(&jwk, &claims("rsa"), SECRET), Malformed),
        ("an unknown critical extension", forged(&json!({"alg": "HS256", "crit": ["x"], "x": 1}), &claims("hs"), SECRET), Malformed),
        ("another kind of token", forged(&json!({"alg": "HS256", "typ": "logout+jwt"}), &claims("hs"), SECRET), Malformed),
        ("another issuer's key", signed("ec", None, &claims("rsa")), Algorithm),
        ("another issuer's name", signed("hs", None, &claims("rsa")), Algorithm),
        ("claims replaced", format!("{}.{other_claims}.{signature}", message.split_once('.').unwrap().0), Signature),
        ("signature cut", format!("{message}.{}", &signature[..signature.len() - 6]), Signature),
        ("signature empty", format!("{message}."), Signature),
        ("signature of another", format!("{message}.{}", es.rsplit_once('.').unwrap().1), Signature),
        ("signature not base64", format!("{message}.***"), Malformed),
        ("two parts", message.to_owned(), Malformed),
        ("four parts", format!("{good}.x"), Malformed),
        ("one part", "abc".to_owned(), Malformed),
        ("nothing", String::new(), Malformed),
        ("dots", "..".to_owned(), Malformed),
        ("padded", format!("{good}="), Malformed),
        ("two tokens", format!("{good} {good}"), Malformed),
        ("too large", hs(json!({"x": "y".repeat(8 * 1024)})), TooLarge),
        ("an unknown key id", signed("ec", Some("three"), &claims("set")), Key),
        ("a key id of another algorithm", signed("ec", Some("two"), &claims("set")), Key),
        ("no key id where there are several", signed("ec", None, &claims("several")), Key),
    ] {
        assert_eq!(refused(&token), error, "{what}");
    }
}

#[test]
fn every_shortening_of_a_good_token_is_refused() {
    let good = hs(json!({}));
    let authenticator = now();
    for end in 0..good.len() {
        assert!(authenticator.ask(&headers(&good[..end])).is_err(), "{end} of {}", good.len());
    }
}

#[test]
fn credentials_come_in_one_bearer_header() {
    let token = hs(json!({}));
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
    assert_eq!(now().ask(&HeaderMap::new()).unwrap_err(), AuthError::Missing);
    for (text, error) in [
        ("", AuthError::Scheme),
        ("Bearer", AuthError::Scheme),
        ("Bearer ", AuthError::Malformed),
        ("Basic YTpi", AuthError::Scheme),
        (token.as_str(), AuthError::Scheme),
        ("Bearer ü", AuthError::Malformed),
    ] {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value(text))]);
        assert_eq!(now().ask(&headers).unwrap_err(), error, "{text:?}");
    }
    let mut twice = headers(&token);
    twice.append(AUTHORIZATION, value(&format!("Bearer {token}")));
    assert_eq!(now().ask(&twice).unwrap_err(), AuthError::Several);
}

#[test]
fn cloudflares_header_counts_for_its_issuer_only() {
    let assertion = |token: String| HeaderMap::from_iter([(CLOUDFLARE_ASSERTION, HeaderValue::from_str(&token).unwrap())]);
    let cloudflare = || assertion(signed("rsa", None, &claims("cf")));
    assert!(now().ask(&cloudflare()).is_ok());
    assert_eq!(now().ask(&assertion(hs(json!({})))).unwrap_err(), AuthError::Issuer);
    let mut both = cloudflare();
    both.insert(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    assert_eq!(now().ask(&both).unwrap_err(), AuthError::Malformed, "a bad token is not made good by another");
    let plain: Vec<_> = issuers().into_iter().filter(|issuer| !issuer.cloudflare).collect();
    let without = authenticator(plain, Arc::new(Fixed(0.0))).unwrap();
    assert_eq!(without.ask(&cloudflare()).unwrap_err(), AuthError::Missing);
}

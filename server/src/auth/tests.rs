use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as B64};
use chrono::{DateTime, Utc};
use http::HeaderValue;
use jsonwebtoken::{EncodingKey, Header, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use secrecy::SecretSlice;
use serde_json::{Value, json};

use super::*;
use crate::domain::principal::Roles;

const NOW: i64 = 1_800_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

#[derive(Debug)]
struct Fixed(f64);

impl Clock for Fixed {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis((self.0 * 1000.0) as i64).unwrap()
    }
}

struct Keys {
    dir: tempfile::TempDir,
    rsa: KeyPair,
    ec: KeyPair,
    ed: KeyPair,
}

impl Keys {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn signer(&self, name: &str) -> EncodingKey {
        match name {
            "rsa" => EncodingKey::from_rsa_pem(self.rsa.serialize_pem().as_bytes()).unwrap(),
            "ec" => EncodingKey::from_ec_pem(self.ec.serialize_pem().as_bytes()).unwrap(),
            "ed" => EncodingKey::from_ed_pem(self.ed.serialize_pem().as_bytes()).unwrap(),
            "hs" => EncodingKey::from_secret(SECRET),
            _ => unreachable!("no such key"),
        }
    }
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let ec = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let ed = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    for (name, key) in [("rsa", &rsa), ("ec", &ec), ("ed", &ed)] {
        std::fs::write(dir.path().join(format!("{name}.pem")), key.public_key_pem()).unwrap();
    }
    let keys = Keys { dir, rsa, ec, ed };
    let jwk = |name: &str, alg: Algorithm, kid: Option<&str>| {
        let mut jwk = Jwk::from_encoding_key(&keys.signer(name), alg.into()).unwrap();
        jwk.common.key_id = kid.map(str::to_owned);
        jwk
    };
    let (one, two) = (jwk("ec", Algorithm::Es256, Some("one")), jwk("rsa", Algorithm::Rs256, Some("two")));
    write(&keys.path("set.json"), &json!({"keys": [one, two]}));
    let mut other = jwk("ec", Algorithm::Es256, Some("other"));
    other.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
    write(&keys.path("several.json"), &json!({"keys": [jwk("ec", Algorithm::Es256, Some("one")), other]}));
    write(&keys.path("twice.json"), &json!({"keys": [one, one]}));
    write(&keys.path("empty.json"), &json!({"keys": []}));
    keys
});

fn write(path: &Path, value: &Value) {
    std::fs::write(path, value.to_string()).unwrap();
}

fn issuer(name: &str, algorithm: Algorithm, keys: KeySource) -> Issuer {
    Issuer {
        issuer: format!("https://{name}.test"),
        audience: "alpine".into(),
        algorithm,
        keys,
        tenant_claim: "tenant".into(),
        roles_claim: "roles".into(),
        default_tenant: None,
        cloudflare: false,
    }
}

fn issuers() -> Vec<Issuer> {
    let secret = || KeySource::Secret(SecretSlice::from(SECRET.to_vec()));
    vec![
        issuer("rsa", Algorithm::Rs256, KeySource::PemFile(KEYS.path("rsa.pem"))),
        issuer("ec", Algorithm::Es256, KeySource::PemFile(KEYS.path("ec.pem"))),
        issuer("ed", Algorithm::EdDsa, KeySource::PemFile(KEYS.path("ed.pem"))),
        issuer("hs", Algorithm::Hs256, secret()),
        issuer("set", Algorithm::Es256, KeySource::JwksFile(KEYS.path("set.json"))),
        issuer("several", Algorithm::Es256, KeySource::JwksFile(KEYS.path("several.json"))),
        Issuer { default_tenant: Some("everyone".into()), ..issuer("lone", Algorithm::Hs256, secret()) },
        Issuer { cloudflare: true, ..issuer("cf", Algorithm::Rs256, KeySource::PemFile(KEYS.path("rsa.pem"))) },
    ]
}

fn at(now: f64) -> Authenticator {
    Authenticator::new(issuers(), Arc::new(Fixed(now))).unwrap()
}

fn now() -> Authenticator {
    at(NOW as f64)
}

fn claims(issuer: &str) -> Value {
    json!({"iss": format!("https://{issuer}.test"), "aud": "alpine", "sub": "ann", "exp": NOW + 600, "tenant": "acme"})
}

/// The claims with some replaced; `null` removes one.
fn with(issuer: &str, changes: Value) -> Value {
    let mut claims = claims(issuer);
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn header(algorithm: jsonwebtoken::Algorithm, kid: Option<&str>) -> Header {
    Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) }
}

fn signed(key: &str, kid: Option<&str>, claims: &Value) -> String {
    use jsonwebtoken::Algorithm as A;
    let algorithm = match key {
        "rsa" => A::RS256,
        "ec" => A::ES256,
        "ed" => A::EdDSA,
        _ => A::HS256,
    };
    jsonwebtoken::encode(&header(algorithm, kid), claims, &KEYS.signer(key)).unwrap()
}

/// A token with any header at all, signed as HS256 with `secret`.
fn forged(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn hs(changes: Value) -> String {
    signed("hs", None, &with("hs", changes))
}

fn headers(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap())])
}

fn refused(token: &str) -> AuthError {
    now().authenticate(&headers(token)).expect_err("taken")
}

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
        let principal = now().authenticate(&headers(&signed(key, kid, &claims(issuer)))).unwrap();
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
        let principal = now().authenticate(&headers(&hs(changes.clone()))).unwrap_or_else(|e| panic!("{changes}: {e}"));
        assert_eq!(principal.roles, Roles::default());
    }
    let scheme = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&format!("bEARER  {}", hs(json!({})))).unwrap())]);
    assert!(now().authenticate(&scheme).is_ok());
    for typ in ["jwt", "at+jwt", "JWT"] {
        assert!(now().authenticate(&headers(&forged(&json!({"alg": "HS256", "typ": typ}), &claims("hs"), SECRET))).is_ok());
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
    ] {
        let principal = now().authenticate(&headers(&hs(json!({"roles": roles})))).unwrap();
        assert_eq!(principal.is_admin(), admin, "{roles}");
    }
}

#[test]
fn the_default_tenant_is_for_tokens_without_one_only() {
    let token = |changes| signed("hs", None, &with("lone", changes));
    let tenant = |changes| now().authenticate(&headers(&token(changes))).map(|p| p.tenant.to_string());
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
        assert_eq!(at(time).authenticate(&headers(&token)).map(|_| ()), expected, "at {time}");
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
        assert!(now().authenticate(&headers(&format!("{message}.{signature}"))).is_err(), "{raw}");
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
        ("its own key in the header", forged(&jwk, &claims("rsa"), SECRET), Algorithm),
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
        assert!(authenticator.authenticate(&headers(&good[..end])).is_err(), "{end} of {}", good.len());
    }
}

#[test]
fn credentials_come_in_one_bearer_header() {
    let token = hs(json!({}));
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
    assert_eq!(now().authenticate(&HeaderMap::new()).unwrap_err(), AuthError::Missing);
    for (text, error) in [
        ("", AuthError::Scheme),
        ("Bearer", AuthError::Scheme),
        ("Bearer ", AuthError::Malformed),
        ("Basic YTpi", AuthError::Scheme),
        (token.as_str(), AuthError::Scheme),
        ("Bearer ü", AuthError::Malformed),
    ] {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value(text))]);
        assert_eq!(now().authenticate(&headers).unwrap_err(), error, "{text:?}");
    }
    let mut twice = headers(&token);
    twice.append(AUTHORIZATION, value(&format!("Bearer {token}")));
    assert_eq!(now().authenticate(&twice).unwrap_err(), AuthError::Several);
}

#[test]
fn cloudflares_header_counts_for_its_issuer_only() {
    let assertion = |token: String| HeaderMap::from_iter([(CLOUDFLARE_ASSERTION, HeaderValue::from_str(&token).unwrap())]);
    let cloudflare = || assertion(signed("rsa", None, &claims("cf")));
    assert!(now().authenticate(&cloudflare()).is_ok());
    assert_eq!(now().authenticate(&assertion(hs(json!({})))).unwrap_err(), AuthError::Issuer);
    let mut both = cloudflare();
    both.insert(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    assert_eq!(now().authenticate(&both).unwrap_err(), AuthError::Malformed, "a bad token is not made good by another");
    let plain: Vec<_> = issuers().into_iter().filter(|issuer| !issuer.cloudflare).collect();
    let without = Authenticator::new(plain, Arc::new(Fixed(0.0))).unwrap();
    assert_eq!(without.authenticate(&cloudflare()).unwrap_err(), AuthError::Missing);
}

#[test]
fn issuers_that_cannot_work_are_refused_at_start() {
    let start = |issuer: Issuer| Authenticator::new(vec![issuer], Arc::new(Fixed(0.0))).map(|_| ());
    let secret = |bytes: &[u8]| KeySource::Secret(SecretSlice::from(bytes.to_vec()));
    let pem = |name: &str| KeySource::PemFile(KEYS.path(name));
    let jwks = |name: &str| KeySource::JwksFile(KEYS.path(name));
    assert!(matches!(start(issuer("x", Algorithm::Hs256, secret(b"short"))), Err(SetupError::ShortSecret { .. })));
    assert!(matches!(start(issuer("x", Algorithm::Rs256, secret(SECRET))), Err(SetupError::WrongKind { .. })));
    assert!(matches!(start(issuer("x", Algorithm::Hs256, pem("rsa.pem"))), Err(SetupError::WrongKind { .. })));
    assert!(matches!(start(issuer("x", Algorithm::Rs256, pem("ec.pem"))), Err(SetupError::Pem { .. })));
    assert!(matches!(start(issuer("x", Algorithm::Rs256, pem("absent.pem"))), Err(SetupError::Read { .. })));
    assert!(matches!(start(issuer("x", Algorithm::Rs256, jwks("rsa.pem"))), Err(SetupError::JwkSet { .. })));
    assert!(matches!(start(issuer("x", Algorithm::EdDsa, jwks("set.json"))), Err(SetupError::NoKey { .. })));
    assert!(matches!(start(issuer("x", Algorithm::Es256, jwks("empty.json"))), Err(SetupError::NoKey { .. })));
    assert!(matches!(start(issuer("x", Algorithm::Es256, jwks("twice.json"))), Err(SetupError::KeyIdTwice { .. })));
    let tenant = Issuer { default_tenant: Some(" ".into()), ..issuer("x", Algorithm::Hs256, secret(SECRET)) };
    assert!(matches!(start(tenant), Err(SetupError::DefaultTenant { .. })));
    let blank = Issuer { audience: String::new(), ..issuer("x", Algorithm::Hs256, secret(SECRET)) };
    assert!(matches!(start(blank), Err(SetupError::Blank)));
    let twice = vec![issuer("x", Algorithm::Hs256, secret(SECRET)), issuer("x", Algorithm::Hs256, secret(SECRET))];
    assert!(matches!(Authenticator::new(twice, Arc::new(Fixed(0.0))), Err(SetupError::Twice { .. })));
}

//! Keys, issuers and tokens of theirs.

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as B64};
use chrono::{DateTime, Utc};
use http::HeaderValue;
use jsonwebtoken::{EncodingKey, Header, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use secrecy::SecretSlice;
use serde_json::json;

use super::super::*;

pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

#[derive(Debug)]
pub(super) struct Fixed(pub(super) f64);

impl Clock for Fixed {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis((self.0 * 1000.0) as i64).unwrap()
    }
}

pub(super) struct Keys {
    dir: tempfile::TempDir,
    pub(super) rsa: KeyPair,
    pub(super) ec: KeyPair,
    pub(super) ed: KeyPair,
}

impl Keys {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn signer(&self, name: &str) -> EncodingKey {
        match name {
            "rsa" => EncodingKey::from_rsa_pem(self.rsa.serialize_pem().as_bytes()).unwrap(),
            "ec" => EncodingKey::from_ec_pem(self.ec.serialize_pem().as_bytes()).unwrap(),
            "ed" => EncodingKey::from_ed_pem(self.ed.serialize_pem().as_bytes()).unwrap(),
            "hs" => EncodingKey::from_secret(SECRET),
            _ => unreachable!("no such key"),
        }
    }
}

pub(super) static KEYS: LazyLock<Keys> = LazyLock::new(|| {
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

pub(super) fn write(path: &Path, value: &Value) {
    std::fs::write(path, value.to_string()).unwrap();
}

pub(super) fn issuer(name: &str, algorithm: Algorithm, keys: KeySource) -> Issuer {
    Issuer::new(format!("https://{name}.test"), "alpine", algorithm, keys)
}

pub(super) fn issuers() -> Vec<Issuer> {
    let secret = || KeySource::Secret(SecretSlice::from(SECRET.to_vec()));
    vec![
        issuer("rsa", Algorithm::Rs256, KeySource::PemFile(KEYS.path("rsa.pem"))),
        issuer("ec", Algorithm::Es256, KeySource::PemFile(KEYS.path("ec.pem"))),
        issuer("ed", Algorithm::EdDsa, KeySource::PemFile(KEYS.path("ed.pem"))),
        issuer("hs", Algorithm::Hs256, secret()),
        issuer("set", Algorithm::Es256, KeySource::JwksFile(KEYS.path("set.json"))),
        Issuer {
            algorithms: vec![Algorithm::Rs256, Algorithm::Es256],
            ..issuer("multi", Algorithm::Es256, KeySource::JwksFile(KEYS.path("set.json")))
        },
        issuer("several", Algorithm::Es256, KeySource::JwksFile(KEYS.path("several.json"))),
        Issuer { default_tenant: Some("everyone".into()), ..issuer("lone", Algorithm::Hs256, secret()) },
        Issuer { cloudflare: true, ..issuer("cf", Algorithm::Rs256, KeySource::PemFile(KEYS.path("rsa.pem"))) },
    ]
}

/// An authenticator of these issuers.
pub(super) fn authenticator(issuers: Vec<Issuer>, clock: Arc<dyn Clock>) -> Result<Authenticator, SetupError> {
    Authenticator::new(issuers, clock, Arc::new(Metrics::new()))
}

pub(super) fn at(now: f64) -> Authenticator {
    authenticator(issuers(), Arc::new(Fixed(now))).unwrap()
}

/// A JWKS URL with the usual times.
pub(super) fn url_of(url: &str) -> JwksUrl {
    let (refresh, keep_removed) = (Duration::from_secs(300), Duration::from_secs(600));
    JwksUrl { url: url.to_owned(), allow_http: true, ca_file: None, refresh, keep_removed }
}

/// Where nothing is waited for.
pub(super) trait Ask {
    fn ask(&self, headers: &HeaderMap) -> Result<Principal, AuthError>;
}

impl Ask for Authenticator {
    fn ask(&self, headers: &HeaderMap) -> Result<Principal, AuthError> {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(self.authenticate(headers))
    }
}

pub(super) fn now() -> Authenticator {
    at(NOW as f64)
}

pub(super) fn claims(issuer: &str) -> Value {
    json!({"iss": format!("https://{issuer}.test"), "aud": "alpine", "sub": "ann", "exp": NOW + 600, "tenant": "acme"})
}

/// The claims with some replaced; `null` removes one.
pub(super) fn with(issuer: &str, changes: Value) -> Value {
    let mut claims = claims(issuer);
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

pub(super) fn header(algorithm: jsonwebtoken::Algorithm, kid: Option<&str>) -> Header {
    Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) }
}

pub(super) fn signed(key: &str, kid: Option<&str>, claims: &Value) -> String {
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
pub(super) fn forged(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

pub(super) fn hs(changes: Value) -> String {
    signed("hs", None, &with("hs", changes))
}

pub(super) fn headers(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap())])
}

pub(super) fn refused(token: &str) -> AuthError {
    now().ask(&headers(token)).expect_err("taken")
}

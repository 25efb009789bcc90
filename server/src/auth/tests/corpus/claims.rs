//! Claims that are missing, of the wrong kind, twice there, or out of time, under a signature that is good.

use jsonwebtoken::Algorithm as A;
use serde_json::{Value, json};

use super::{Bad, bad, fixtures::*, signatures::raw};

fn of_ec(claims: impl AsRef<[u8]>) -> String {
    raw(br#"{"alg":"ES256"}"#, claims.as_ref(), &KEYS.signer("ec"), A::ES256)
}

/// The good claims with one in another form; `null` is written as such.
fn but(name: &str, value: &Value) -> String {
    let mut claims = claims("ec");
    claims[name] = value.clone();
    of_ec(claims.to_string())
}

pub(super) fn good() -> Vec<String> {
    vec![
        of_ec(claims("ec").to_string()),
        but("aud", &json!(["other", "alpine"])),
        but("exp", &json!(NOW - 29)),
        but("nbf", &json!(NOW + 30)),
        but("roles", &json!(7)),
    ]
}

pub(super) fn all() -> Vec<Bad> {
    [mistyped(), missing(), doubled(), clock(), no_claims()].into_iter().flatten().collect()
}

/// Names that are almost the issuer's.
const ALMOST: [&str; 15] = [
    "https://ec.test/",
    "https://EC.test",
    "http://ec.test",
    "https://ec.test ",
    " https://ec.test",
    "https://ec.test\0",
    "https://ec.test.",
    "https://evil.test",
    "https://ec.test@evil.test",
    "ec.test",
    "https://ec.test?x",
    "https://ec.test#x",
    "https://есtest",
    "*",
    "null",
];

fn mistyped() -> Vec<Bad> {
    let huge = json!("x".repeat(4000));
    let any = [json!(null), json!(0), json!(-1), json!(1.5), json!(true), json!(false), json!(""), json!(" "), json!([]), json!({}), huge];
    let mut all = Vec::new();
    let mut add = |name: &str, value: &Value| all.push(bad("claim", format!("{name} = {value:.60}"), but(name, value)));
    for name in ["iss", "aud", "sub", "tenant"] {
        any.iter().for_each(|value| add(name, value));
    }
    for value in &any {
        add("exp", value);
        // Long past is no matter for `nbf`.
        if !matches!(value.as_f64(), Some(n) if n >= 0.0) {
            add("nbf", value);
        }
    }
    ALMOST.iter().for_each(|value| add("iss", &json!(value)));
    // That of another is in no one's hand but theirs.
    ["rsa", "ed", "hs", "lone", "cf", "several"].iter().for_each(|name| add("iss", &json!(format!("https://{name}.test"))));
    for value in [json!(["https://ec.test"]), json!({"iss": "https://ec.test"})] {
        add("iss", &value);
    }
    audiences().iter().for_each(|value| add("aud", value));
    subjects().iter().for_each(|value| add("sub", value));
    tenants().iter().for_each(|value| add("tenant", value));
    for name in ["exp", "nbf"] {
        for value in [json!((NOW + 5).to_string()), json!("tomorrow"), json!([NOW]), json!({"at": NOW}), json!(-1e300), json!("Infinity")] {
            add(name, &value);
        }
    }
    all
}

fn audiences() -> Vec<Value> {
    vec![
        json!("Alpine"),
        json!("ALPINE"),
        json!("alpine "),
        json!(" alpine"),
        json!("alpine,other"),
        json!("alpine other"),
        json!("alpin"),
        json!("alpine\0"),
        json!("other"),
        json!("*"),
        json!("https://ec.test"),
        json!(["other"]),
        json!([""]),
        json!([["alpine"]]),
        json!(["alpine", 5]),
        json!(["alpine", null]),
        json!([null]),
        json!({"alpine": true}),
        json!([{"aud": "alpine"}]),
        json!(["Alpine"]),
    ]
}

fn subjects() -> Vec<Value> {
    vec![
        json!("system"),
        json!("ann "),
        json!(" ann"),
        json!("ann\n"),
        json!("ann\0"),
        json!("a\tb"),
        json!("\u{7f}"),
        json!("\u{85}ann"),
        json!("x".repeat(256)),
        json!(["ann"]),
        json!({"sub": "ann"}),
        json!("\u{a0}ann"),
        json!("ann\u{2003}"),
    ]
}

fn tenants() -> Vec<Value> {
    vec![json!("acme "), json!("\tacme"), json!("a\nb"), json!("a\0b"), json!("x".repeat(256)), json!(["acme"]), json!({"acme": 1})]
}

fn missing() -> Vec<Bad> {
    let mut all = Vec::new();
    for name in ["iss", "aud", "sub", "exp", "tenant"] {
        let mut claims = claims("ec");
        let value = claims.as_object_mut().unwrap().remove(name).unwrap();
        all.push(bad("claim", format!("no {name}"), of_ec(claims.to_string())));
        let capital = name.to_uppercase();
        claims[&capital] = value;
        all.push(bad("claim", format!("{capital} for {name}"), of_ec(claims.to_string())));
    }
    all.push(bad("claim", "none but iss", of_ec(r#"{"iss":"https://ec.test"}"#)));
    all
}

fn doubled() -> Vec<Bad> {
    let base = claims("ec");
    let mut all = Vec::new();
    for (name, other) in [
        ("iss", json!("https://evil.test")),
        ("aud", json!("other")),
        ("sub", json!("bob")),
        ("exp", json!(1)),
        ("tenant", json!("rival")),
        ("nbf", json!(NOW + 5000)),
        ("roles", json!(["alpine.admin"])),
        ("iat", json!(5)),
    ] {
        let good = base.get(name).cloned().unwrap_or_else(|| if name == "roles" { json!([]) } else { json!(NOW) });
        let mut rest = base.clone();
        rest.as_object_mut().unwrap().remove(name);
        let rest = rest.to_string();
        let rest = rest.trim_matches(['{', '}']);
        let escaped = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
        for (what, first, second, again) in [
            ("the same twice", &good, &good, name),
            ("the good one last", &other, &good, name),
            ("the good one first", &good, &other, name),
            ("null first", &Value::Null, &good, name),
            ("escaped", &good, &good, escaped.as_str()),
            ("escaped, the good one last", &other, &good, escaped.as_str()),
        ] {
            let text = format!(r#"{{"{again}":{first},{rest},"{name}":{second}}}"#);
            all.push(bad("doubled claim", format!("{name}: {what}"), of_ec(text)));
        }
    }
    all.push(bad("doubled claim", "one that is nobody's", of_ec(format!(r#"{{"x":1,"x":1,{}"#, &base.to_string()[1..]))));
    all
}

fn clock() -> Vec<Bad> {
    let mut all = Vec::new();
    for late in [30, 31, 60, 61, 300, 3600, 86_400, 31_536_000, NOW - 1] {
        all.push(bad("clock", format!("expired {late} s ago"), but("exp", &json!(NOW - late))));
        all.push(bad("clock", format!("expired {late}.5 s ago"), but("exp", &json!((NOW - late) as f64 - 0.5))));
    }
    all.push(bad("clock", "expired 30.001 s ago", but("exp", &json!(NOW as f64 - 30.001))));
    for early in [31, 32, 60, 300, 3600, 86_400, 31_536_000] {
        all.push(bad("clock", format!("valid in {early} s"), but("nbf", &json!(NOW + early))));
        all.push(bad("clock", format!("valid in {early}.5 s"), but("nbf", &json!((NOW + early) as f64 + 0.5))));
    }
    all.push(bad("clock", "valid in 30.001 s", but("nbf", &json!(NOW as f64 + 30.001))));
    all.push(bad("clock", "valid in milliseconds", but("nbf", &json!(NOW * 1000))));
    all.push(bad("clock", "valid never", but("nbf", &json!(u64::MAX))));
    all.push(bad("clock", "valid after it expires", {
        let changes = json!({"nbf": NOW + 100, "exp": NOW + 50});
        of_ec(with("ec", changes).to_string())
    }));
    let text = claims("ec").to_string();
    for number in
        ["1e400", "-1e400", "1e999999", "NaN", "Infinity", "0x7fffffff", "01900000000", "+1900000000", "1900000000.", "1_900_000_000"]
    {
        let text = text.replace(&(NOW + 600).to_string(), number);
        all.push(bad("clock", format!("exp = {number}"), of_ec(text)));
    }
    all
}

fn no_claims() -> Vec<Bad> {
    let good = claims("ec").to_string();
    let texts: [Vec<u8>; 18] = [
        b"".to_vec(),
        b"null".to_vec(),
        b"5".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        b"\"x\"".to_vec(),
        format!("[{good}]").into_bytes(),
        format!("{good}x").into_bytes(),
        format!("{good}{good}").into_bytes(),
        format!("{good},").into_bytes(),
        good.as_bytes()[..good.len() - 1].to_vec(),
        good.replace('"', "'").into_bytes(),
        format!("\u{feff}{good}").into_bytes(),
        good.replace("ann", "ann\\ud800").into_bytes(),
        [good.replace("ann\"", "").as_bytes(), b"\xff"].concat(),
        serde_json::to_vec(&good).unwrap(),
        format!("{},\"x\":{}{}}}", &good[..good.len() - 1], "[".repeat(1500), "]".repeat(1500)).into_bytes(),
        signed("ec", None, &claims("ec")).into_bytes(),
    ];
    texts.into_iter().map(|text| bad("no claims", String::from_utf8_lossy(&text[..text.len().min(80)]).into_owned(), of_ec(text))).collect()
}

//! Good tokens, cut, flipped, padded, joined and blown up.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD as B64},
};
use serde_json::json;

use super::{Bad, bad, fixtures::*};

const KEY_NAMES: [&str; 4] = ["rsa", "ec", "ed", "hs"];

pub(super) fn all() -> Vec<Bad> {
    [truncated(), bits(), encodings(), joined(), parts(), oversized()].into_iter().flatten().collect()
}

fn token(name: &str) -> String {
    signed(name, None, &claims(name))
}

fn truncated() -> Vec<Bad> {
    let good = token("ec");
    let from_the_end = (0..good.len()).map(|end| bad("truncated", format!("{end} bytes"), &good.as_bytes()[..end]));
    let from_the_start =
        (1..good.len()).step_by(7).map(|start| bad("truncated", format!("without {start} bytes"), &good.as_bytes()[start..]));
    let hole = |at: usize| format!("{}{}", &good[..at], &good[at + 1..]);
    // A hole in a part makes other bytes of it, or none.
    let holes = (1..good.len() - 1).step_by(11).map(|at| bad("truncated", format!("without byte {at}"), hole(at)));
    from_the_end.chain(from_the_start).chain(holes).collect()
}

fn bits() -> Vec<Bad> {
    let mut all = Vec::new();
    for name in KEY_NAMES {
        let good = token(name);
        let (message, signature) = good.rsplit_once('.').unwrap();
        let signature = B64.decode(signature).unwrap();
        for bit in (0..signature.len() * 8).step_by(signature.len() / 16) {
            let mut flipped = signature.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            all.push(bad("bits", format!("{name}: bit {bit}"), format!("{message}.{}", B64.encode(flipped))));
        }
        for at in (0..message.len()).step_by(9).filter(|at| message.as_bytes()[*at] != b'.') {
            let mut changed = message.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            all.push(bad("bits", format!("{name}: character {at}"), format!("{changed}.{}", B64.encode(&signature))));
        }
    }
    all
}

/// The same bytes, written as no JWT writes them.
fn encodings() -> Vec<Bad> {
    let mut all = Vec::new();
    for name in KEY_NAMES {
        let good = token(name);
        let parts: Vec<&str> = good.split('.').collect();
        let bytes: Vec<Vec<u8>> = parts.iter().map(|part| B64.decode(part).unwrap()).collect();
        for at in 0..3 {
            let put = |part: String| {
                let mut parts = parts.clone();
                parts[at] = &part;
                parts.join(".")
            };
            let hex: String = bytes[at].iter().map(|byte| format!("{byte:02x}")).collect();
            let part = parts[at];
            let forms = [
                ("=", put(format!("{part}="))),
                ("==", put(format!("{part}=="))),
                ("padded as is due", put(BASE64_URL_SAFE.encode(&bytes[at]))),
                ("standard alphabet", put(BASE64_STANDARD.encode(&bytes[at]))),
                ("hexadecimal", put(hex)),
                ("encoded twice", put(B64.encode(part))),
                ("a space within", put(format!("{} {}", &part[..9], &part[9..]))),
                ("a tab within", put(format!("{}\t{}", &part[..9], &part[9..]))),
                ("a space before", put(format!(" {part}"))),
                ("a slash within", put(format!("{}/{}", &part[..9], &part[9..]))),
                ("a percent sign", put(format!("{}%2e{}", &part[..9], &part[9..]))),
                ("one character more", put(format!("{part}A"))),
                ("two characters more", put(format!("{part}AA"))),
                ("backwards", put(part.chars().rev().collect())),
                ("upper case", put(part.to_uppercase())),
                ("nothing", put(String::new())),
            ];
            // Trimmed, a first part with a space before it is what it was.
            let other = forms.into_iter().filter(|(what, token)| *token != good && (at > 0 || *what != "a space before"));
            all.extend(other.map(|(what, token)| bad("encoding", format!("{name}: part {at}: {what}"), token)));
            // The last character has bits that stand for nothing.
            if !bytes[at].len().is_multiple_of(3) {
                const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
                let last = ALPHABET.iter().position(|c| *c == *part.as_bytes().last().unwrap()).unwrap();
                let same = format!("{}{}", &part[..part.len() - 1], char::from(ALPHABET[last ^ 1]));
                all.push(bad("encoding", format!("{name}: part {at}: other spare bits"), put(same)));
            }
        }
    }
    all
}

/// More than one token, or one in a wrapping.
fn joined() -> Vec<Bad> {
    let (good, other) = (token("ec"), token("hs"));
    let mut all = Vec::new();
    for separator in [" ", ",", ", ", ".", ";", "|", "&", "\t", "=", "..", ""] {
        all.push(bad("joined", format!("two with {separator:?}"), format!("{good}{separator}{other}")));
        all.push(bad("joined", format!("twice with {separator:?}"), format!("{good}{separator}{good}")));
    }
    for (before, after) in [
        ("\"", "\""),
        ("'", "'"),
        ("<", ">"),
        ("[", "]"),
        ("{", "}"),
        ("(", ")"),
        ("Bearer ", ""),
        ("bearer ", ""),
        ("token=", ""),
        ("JWT ", ""),
        (".", ""),
        ("", "."),
        ("..", ""),
        ("", ".."),
        ("", ".x"),
        ("x.", ""),
        ("", "#x"),
        ("", "?x"),
        ("", ";"),
        ("", "\\0"),
        ("", "%00"),
        ("\u{feff}", ""),
        ("", "\u{200b}"),
        ("é", ""),
        ("", "\u{ff0e}"),
        ("", "🙂"),
    ] {
        all.push(bad("joined", format!("{before:?} … {after:?}"), format!("{before}{good}{after}")));
    }
    for byte in [0x80, 0xa0, 0xff] {
        all.push(bad("joined", format!("byte {byte:#x} behind"), [good.as_bytes(), &[byte]].concat()));
        all.push(bad("joined", format!("byte {byte:#x} before"), [&[byte], good.as_bytes()].concat()));
    }
    all.push(bad("joined", "full-width dots", good.replace('.', "\u{ff0e}")));
    all
}

/// Five parts and other numbers of them, and the JSON forms.
fn parts() -> Vec<Bad> {
    let good = token("ec");
    let parts: Vec<&str> = good.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    let jwe = |alg: &str, enc: &str| B64.encode(json!({"alg": alg, "enc": enc, "cty": "JWT"}).to_string());
    let mut all = Vec::new();
    for (alg, enc) in [("dir", "A256GCM"), ("RSA-OAEP", "A256GCM"), ("RSA1_5", "A128CBC-HS256"), ("ECDH-ES", "A128GCM"), ("none", "none")] {
        for key in ["", "a2V5"] {
            let token = format!("{}.{key}.aXY.{}.dGFn", jwe(alg, enc), B64.encode(&good));
            all.push(bad("parts", format!("JWE {alg} {enc} key {key:?}"), token));
        }
    }
    let general = json!({"payload": claims, "signatures": [{"protected": header, "signature": signature}]});
    let flat = json!({"payload": claims, "protected": header, "signature": signature});
    for (what, token) in [
        ("two", format!("{header}.{claims}")),
        ("two, no header", format!("{claims}.{signature}")),
        ("one", header.to_owned()),
        ("four", format!("{good}.{signature}")),
        ("four, one empty", format!("{header}..{claims}.{signature}")),
        ("five of the same", format!("{header}.{header}.{header}.{header}.{header}")),
        ("six", format!("{good}.{good}")),
        ("out of order", format!("{claims}.{header}.{signature}")),
        ("the other way round", format!("{signature}.{claims}.{header}")),
        ("detached", format!("{header}..{signature}")),
        ("no header", format!(".{claims}.{signature}")),
        ("the JSON form", flat.to_string()),
        ("the general JSON form", general.to_string()),
        ("the JSON form, encoded", B64.encode(flat.to_string())),
        ("a token as the claims", format!("{header}.{}.{signature}", B64.encode(&good))),
        ("four dots", "....".to_owned()),
        ("a thousand dots", ".".repeat(1000)),
        ("eight thousand dots", ".".repeat(8000)),
        ("a word", "token".to_owned()),
        ("null", "null".to_owned()),
        ("undefined", "undefined".to_owned()),
        ("a cookie", format!("token={header}")),
        ("an opaque token", "2YotnFZFEjr1zCsicMWpAA".to_owned()),
        ("a uuid", "0191f3a0-7b1c-7000-8000-000000000000".to_owned()),
        ("eyJ", "eyJ".to_owned()),
    ] {
        all.push(bad("parts", what, token));
    }
    all
}

fn oversized() -> Vec<Bad> {
    let mut all = Vec::new();
    for name in KEY_NAMES {
        for size in [8 * 1024, 12 * 1024, 24 * 1024, 48 * 1024] {
            let token = signed(name, None, &with(name, json!({"x": "y".repeat(size)})));
            all.push(bad("oversized", format!("{name}: {size} bytes and more, signed"), token));
        }
    }
    let good = token("ec");
    for size in [8 * 1024 + 1, 16 * 1024, 48 * 1024] {
        all.push(bad("oversized", format!("{size} bytes, all a"), "a".repeat(size)));
        all.push(bad("oversized", format!("{size} bytes of signature"), format!("{good}{}", "A".repeat(size))));
        all.push(bad("oversized", format!("{size} bytes of header"), format!("{}{good}", "A".repeat(size))));
    }
    // The largest token that is looked at is 8,192 bytes: it is exact.
    let message = |fill: usize| signed("hs", None, &with("hs", json!({"x": "y".repeat(fill)})));
    let fill = (5500..8192).find(|fill| message(*fill).len() > 8192).unwrap();
    all.push(bad("oversized", "the smallest that is too large", message(fill)));
    all
}

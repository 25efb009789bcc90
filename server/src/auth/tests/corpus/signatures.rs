//! Who signed, with what, and as what: confused algorithms, others' keys, made-up signatures.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as B64},
};
use jsonwebtoken::{Algorithm as A, EncodingKey, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData};

use serde_json::json;

use super::{Bad, bad, fixtures::*};

/// The order of P-256, and of the base point of Ed25519 (that one little-endian).
const P256: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const ED25519: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

const ISSUERS: [(&str, A); 4] = [("rsa", A::RS256), ("ec", A::ES256), ("ed", A::EdDSA), ("hs", A::HS256)];

/// A token of these very bytes, signed for real.
pub(super) fn raw(header: &[u8], claims: &[u8], key: &EncodingKey, algorithm: A) -> String {
    let message = format!("{}.{}", B64.encode(header), B64.encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// The same with the header `{"alg": …, "typ": "JWT"}`, `alg` as JSON.
fn headed(alg: &str, issuer: &str, key: &EncodingKey, algorithm: A) -> String {
    raw(format!(r#"{{"alg":{alg},"typ":"JWT"}}"#).as_bytes(), claims(issuer).to_string().as_bytes(), key, algorithm)
}

pub(super) fn good() -> Vec<String> {
    ISSUERS.iter().map(|(name, alg)| headed(&format!("\"{alg:?}\""), name, &KEYS.signer(name), *alg)).collect()
}

pub(super) fn all() -> Vec<Bad> {
    [public_key_as_secret(), other_algorithms(), others_keys(), made_up(), ecdsa(), eddsa()].into_iter().flatten().collect()
}

/// Every form in which a public key may have been read, as the secret of an HMAC.
fn public_key_as_secret() -> Vec<Bad> {
    let mut all = Vec::new();
    for (name, real, pair) in [("rsa", A::RS256, &KEYS.rsa), ("ec", A::ES256, &KEYS.ec), ("ed", A::EdDSA, &KEYS.ed)] {
        let pem = pair.public_key_pem();
        let der = pair.subject_public_key_info();
        let jwk = match real {
            A::EdDSA => json!({"kty": "OKP", "crv": "Ed25519", "x": B64.encode(pair.der_bytes())}).to_string(),
            _ => serde_json::to_string(&Jwk::from_encoding_key(&KEYS.signer(name), real).unwrap()).unwrap(),
        };
        let set = std::fs::read(KEYS.path("set.json")).unwrap();
        let forms: Vec<(&str, Vec<u8>)> = vec![
            ("PEM", pem.clone().into_bytes()),
            ("PEM, trimmed", pem.trim().as_bytes().to_vec()),
            ("PEM, CRLF", pem.replace('\n', "\r\n").into_bytes()),
            ("base64 of DER", BASE64_STANDARD.encode(&der).into_bytes()),
            ("DER", der),
            ("raw", pair.der_bytes().to_vec()),
            ("JWK", jwk.into_bytes()),
            ("JWK set", set),
            ("nothing", b"".to_vec()),
        ];
        for (form, secret) in forms {
            for hmac in [A::HS256, A::HS384, A::HS512] {
                let token = headed(&format!("\"{hmac:?}\""), name, &EncodingKey::from_secret(&secret), hmac);
                all.push(bad("confusion", format!("{hmac:?} with the {name} public key as {form}"), token));
            }
            let token = headed(&format!("\"{real:?}\""), name, &EncodingKey::from_secret(&secret), A::HS256);
            all.push(bad("confusion", format!("said to be {real:?}, HMAC with {form}"), token));
        }
    }
    all
}

/// The right key, and an algorithm that the issuer does not use; or the right signature under another name.
fn other_algorithms() -> Vec<Bad> {
    let names = [
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "PS384",
        "PS512",
        "ES256",
        "ES256K",
        "ES384",
        "ES512",
        "EdDSA",
        "Ed25519",
        "HS256",
        "HS384",
        "HS512",
        "none",
        "None",
        "NONE",
        "nOnE",
        " none",
        "none ",
        "",
        "rs256",
        "es256",
        "eddsa",
        "hs256",
        " RS256",
        "ES256 ",
        "HS256\\u0000",
        "dir",
        "RSA-OAEP",
        "A256KW",
        "null",
    ];
    let values = ["null", "true", "0", "256", "[]", "[\"RS256\"]", "[\"ES256\"]", "{}", "{\"alg\":\"HS256\"}"];
    let names = names.iter().map(|name| format!("\"{name}\""));
    let algs: Vec<String> = names.chain(values.iter().map(|value| (*value).to_owned())).collect();
    let mut all = Vec::new();
    for (issuer, real) in ISSUERS {
        for alg in algs.iter().filter(|alg| **alg != format!("\"{real:?}\"")) {
            let token = headed(alg, issuer, &KEYS.signer(issuer), real);
            let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
            all.push(bad("algorithm", format!("{issuer}: alg {alg} under a good signature"), token));
            all.push(bad("algorithm", format!("{issuer}: alg {alg}, not signed"), unsigned));
        }
    }
    for sibling in [A::RS384, A::RS512, A::PS256, A::PS384, A::PS512] {
        let token = headed(&format!("\"{sibling:?}\""), "rsa", &KEYS.signer("rsa"), sibling);
        all.push(bad("algorithm", format!("{sibling:?} in earnest"), token));
    }
    for sibling in [A::HS384, A::HS512] {
        let token = headed(&format!("\"{sibling:?}\""), "hs", &KEYS.signer("hs"), sibling);
        all.push(bad("algorithm", format!("{sibling:?} in earnest"), token));
    }
    all
}

fn others_keys() -> Vec<Bad> {
    let mut all = Vec::new();
    // One issuer's key under the name of another.
    for (signer, alg) in ISSUERS {
        for (issuer, _) in ISSUERS.iter().filter(|(issuer, _)| *issuer != signer) {
            let token = headed(&format!("\"{alg:?}\""), issuer, &KEYS.signer(signer), alg);
            all.push(bad("another's key", format!("the key of {signer} for {issuer}"), token));
        }
    }
    for (issuer, alg, kind) in
        [("rsa", A::RS256, &PKCS_RSA_SHA256), ("ec", A::ES256, &PKCS_ECDSA_P256_SHA256), ("ed", A::EdDSA, &PKCS_ED25519)]
    {
        let pem = KeyPair::generate_for(kind).unwrap().serialize_pem();
        let key = match alg {
            A::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            A::ES256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            _ => EncodingKey::from_ed_pem(pem.as_bytes()),
        };
        all.push(bad("another's key", format!("a stranger's for {issuer}"), headed(&format!("\"{alg:?}\""), issuer, &key.unwrap(), alg)));
    }
    // HMAC pads a key with zeros: the secret with one behind it would be the same key.
    let secrets: [&[u8]; 6] = [b"", b"secret", b"password", b"0", &SECRET[1..], b"fedcba9876543210fedcba9876543210"];
    for secret in secrets {
        let token = headed("\"HS256\"", "hs", &EncodingKey::from_secret(secret), A::HS256);
        all.push(bad("another's key", format!("the secret {secret:?}"), token));
    }
    all
}

/// Signatures that nobody made.
fn made_up() -> Vec<Bad> {
    let mut all = Vec::new();
    for (issuer, alg) in ISSUERS {
        let token = headed(&format!("\"{alg:?}\""), issuer, &KEYS.signer(issuer), alg);
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = B64.decode(signature).unwrap();
        let size = signature.len();
        let other = B64.decode(headed(&format!("\"{alg:?}\""), "cf", &KEYS.signer(issuer), alg).rsplit_once('.').unwrap().1).unwrap();
        let made: Vec<(&str, Vec<u8>)> = vec![
            ("empty", Vec::new()),
            ("zeros", vec![0; size]),
            ("ones", vec![0xff; size]),
            ("one byte", vec![1]),
            ("a zero before", [&[0], signature.as_slice()].concat()),
            ("a zero behind", [signature.as_slice(), &[0]].concat()),
            ("twice", [signature.as_slice(), &signature].concat()),
            ("first half", signature[..size / 2].to_vec()),
            ("backwards", signature.iter().rev().copied().collect()),
            ("halves swapped", [&signature[size / 2..], &signature[..size / 2]].concat()),
            ("all bits flipped", signature.iter().map(|byte| !byte).collect()),
            ("of other claims", other),
            ("the message", message.as_bytes().to_vec()),
        ];
        all.extend(made.into_iter().map(|(what, s)| bad("signature", format!("{issuer}: {what}"), format!("{message}.{}", B64.encode(s)))));
        let none = (format!("{message}.{}", B64.encode("null")), format!("{message}.null"));
        all.push(bad("signature", format!("{issuer}: null, encoded"), none.0));
        all.push(bad("signature", format!("{issuer}: null"), none.1));
    }
    all
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// `r` and `s` that no ECDSA signature has. (`n - s` in place of `s` is as good a signature of the same claims: issuers
/// make both, and nothing here takes a token for an identifier.)
fn ecdsa() -> Vec<Bad> {
    let token = headed("\"ES256\"", "ec", &KEYS.signer("ec"), A::ES256);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = B64.decode(signature).unwrap();
    let (r, s) = (signature[..32].to_vec(), signature[32..].to_vec());
    let (zero, order) = (vec![0; 32], hex(P256));
    let one = [&[0; 31], [1].as_slice()].concat();
    let mut all = Vec::new();
    let parts = [("r", &r), ("s", &s), ("0", &zero), ("1", &one), ("n", &order)];
    for (left, first) in parts {
        // That of `s`, `r` is among the made-up ones.
        for (right, second) in parts.iter().filter(|(right, _)| !matches!((left, *right), ("r", "s") | ("s", "r") | ("0", "0"))) {
            let token = format!("{message}.{}", B64.encode([first.as_slice(), second].concat()));
            all.push(bad("ecdsa", format!("r = {left}, s = {right}"), token));
        }
    }
    let integer = |value: &[u8]| {
        let padded = if value[0] >= 0x80 { [&[0], value].concat() } else { value.to_vec() };
        [&[2, padded.len() as u8], padded.as_slice()].concat()
    };
    let body = [integer(&r), integer(&s)].concat();
    let der = [&[0x30, body.len() as u8], body.as_slice()].concat();
    all.push(bad("ecdsa", "as DER", format!("{message}.{}", B64.encode(der))));
    let padded = [&[0; 16], r.as_slice(), &[0; 16], &s].concat();
    all.push(bad("ecdsa", "as long as that of P-384", format!("{message}.{}", B64.encode(padded))));
    all
}

/// `s` plus the group's order verifies where nobody looks at its size.
fn eddsa() -> Vec<Bad> {
    let token = headed("\"EdDSA\"", "ed", &KEYS.signer("ed"), A::EdDSA);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut signature = B64.decode(signature).unwrap();
    let order = hex(ED25519);
    (1..=7)
        .map(|times| {
            let mut carry = 0;
            for (byte, add) in signature[32..].iter_mut().zip(&order) {
                let sum = u16::from(*byte) + u16::from(*add) + carry;
                (*byte, carry) = (sum as u8, sum >> 8);
            }
            bad("eddsa", format!("s plus {times} times the order"), format!("{message}.{}", B64.encode(&signature)))
        })
        .collect()
}

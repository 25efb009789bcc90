//! Bad tokens by the family, made from good ones. Each goes to [`Authenticator`] here and over HTTP in `http::tests`.
//!
//! Tokens that cannot be the value of a header (line breaks, NUL) are not in it: no request can carry them.

mod bytes;
mod claims;
mod headers;
mod signatures;

use std::collections::{BTreeMap, BTreeSet};

use super::{fixtures::*, *};

/// A token that must be nobody's.
#[derive(Debug)]
pub(crate) struct Bad {
    pub(crate) family: &'static str,
    pub(crate) what: String,
    pub(crate) token: Vec<u8>,
}

fn bad(family: &'static str, what: impl Into<String>, token: impl Into<Vec<u8>>) -> Bad {
    Bad { family, what: what.into(), token: token.into() }
}

/// Knows the issuers of the corpus, at its time.
pub(crate) fn authenticator() -> Authenticator {
    now()
}

/// Knows one issuer, whose keys are nowhere to be had.
pub(crate) fn unreachable() -> Authenticator {
    let source = KeySource::JwksUrl(url_of("http://127.0.0.1:1/jwks"));
    super::fixtures::authenticator(vec![issuer("url", Algorithm::Es256, source)], Arc::new(Fixed(NOW as f64))).unwrap()
}

/// A token of that issuer, which may be good.
pub(crate) fn of_unreachable() -> String {
    signed("ec", Some("a"), &super::fixtures::claims("url"))
}

/// The tokens that the bad ones are made from, or are one change away from.
pub(crate) fn good() -> Vec<String> {
    let tokens = [
        ("rsa", None, "rsa"),
        ("ec", None, "ec"),
        ("ed", None, "ed"),
        ("hs", None, "hs"),
        ("ec", Some("one"), "set"),
        ("ec", Some("one"), "multi"),
        ("rsa", Some("two"), "multi"),
    ];
    let mut good: Vec<String> = tokens.iter().map(|(key, kid, issuer)| signed(key, *kid, &super::fixtures::claims(issuer))).collect();
    good.extend(headers::good());
    good.extend(claims::good());
    good.extend(signatures::good());
    good
}

/// All of them, each token once: some of one family are some of another's too.
pub(crate) fn all() -> Vec<Bad> {
    let mut all = signatures::all();
    all.extend(headers::all());
    all.extend(claims::all());
    all.extend(bytes::all());
    let mut seen = BTreeSet::new();
    all.retain(|bad| seen.insert(bad.token.clone()));
    all
}

/// How many there are of each family.
fn families(all: &[Bad]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for bad in all {
        *counts.entry(bad.family).or_default() += 1;
    }
    counts
}

#[test]
fn the_corpus_is_what_it_is_said_to_be() {
    let all = all();
    let distinct: BTreeSet<&[u8]> = all.iter().map(|bad| bad.token.as_slice()).collect();
    assert_eq!(distinct.len(), all.len());
    let families = families(&all);
    println!("{} bad tokens: {families:#?}", distinct.len());
    // Without those that a loop over bytes makes by itself.
    let thought_of = distinct.len() - families["truncated"] - families["bits"];
    assert!(thought_of >= 300, "{thought_of}");
    assert!(all.iter().all(|bad| http::HeaderValue::from_bytes(&bad.token).is_ok()));
}

#[tokio::test]
async fn no_token_of_the_corpus_is_anybody() {
    let authenticator = authenticator();
    for good in good() {
        let taken = authenticator.authenticate(&super::fixtures::headers(&good)).await;
        assert_eq!(taken.map(|principal| principal.id.to_string()), Ok("ann".to_owned()), "{good}");
    }
    let mut taken = Vec::new();
    for Bad { family, what, token } in all() {
        let mut value = b"Bearer ".to_vec();
        value.extend(&token);
        let headers = HeaderMap::from_iter([(AUTHORIZATION, http::HeaderValue::from_bytes(&value).unwrap())]);
        match authenticator.authenticate(&headers).await {
            Ok(_) => taken.push(format!("{family}: {what}")),
            Err(error) => assert_ne!(error, AuthError::Unavailable, "{family}: {what}"),
        }
    }
    assert!(taken.is_empty(), "accepted: {taken:#?}");
}

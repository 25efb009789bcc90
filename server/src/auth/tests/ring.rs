//! How long a key counts.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::{Algorithm, keys::Key, ring::Ring};
use jsonwebtoken::DecodingKey;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn key(id: Option<&str>) -> Key {
    Key { id: id.map(str::to_owned), algorithm: Algorithm::Es256, decoding: DecodingKey::from_ec_der(b"x") }
}

fn set(ids: &[&str]) -> Vec<Key> {
    ids.iter().map(|id| key(Some(id))).collect()
}

fn has(ring: &Ring, id: &str, now: i64) -> bool {
    ring.find(Some(id), Algorithm::Es256, at(now)).is_some()
}

#[test]
fn a_removed_key_counts_until_its_grace_is_over_and_not_a_moment_longer() {
    let ring = Ring::empty(TimeDelta::seconds(600)).renewed(set(&["a", "b"]), at(0));
    let ring = ring.renewed(set(&["b", "c"]), at(1000));
    assert!(has(&ring, "a", 1599) && has(&ring, "b", 9999) && has(&ring, "c", 9999));
    assert!(!has(&ring, "a", 1600), "without another fetch");
    // Later fetches do not lengthen it.
    let later = ring.renewed(set(&["b", "c"]), at(1500));
    assert!(has(&later, "a", 1599) && !has(&later, "a", 1600));
    assert_eq!((later.size(), later.renewed(set(&["b", "c"]), at(1600)).size()), ((2, 1), (2, 0)));
}

#[test]
fn a_key_that_comes_back_counts_again() {
    let ring = Ring::empty(TimeDelta::seconds(600)).renewed(set(&["a"]), at(0)).renewed(set(&["b"]), at(10)).renewed(set(&["a"]), at(20));
    assert!(has(&ring, "a", 9999) && has(&ring, "b", 619) && !has(&ring, "b", 620));
}

#[test]
fn an_empty_set_takes_every_key_away_after_the_grace() {
    let ring = Ring::empty(TimeDelta::seconds(5)).renewed(set(&["a"]), at(0)).renewed(Vec::new(), at(10));
    assert!(has(&ring, "a", 14) && !has(&ring, "a", 15));
    let none = Ring::empty(TimeDelta::zero()).renewed(set(&["a"]), at(0)).renewed(Vec::new(), at(10));
    assert!(!has(&none, "a", 10), "no grace, no moment");
    assert!(none.is_loaded() && !Ring::empty(TimeDelta::zero()).is_loaded());
}

#[test]
fn without_an_id_only_the_one_key_that_the_issuer_has_now_counts() {
    let find = |ring: &Ring| ring.find(None, Algorithm::Es256, at(10)).map(|key| key.id.clone());
    let ring = Ring::empty(TimeDelta::seconds(600)).renewed(set(&["a"]), at(0));
    assert_eq!(find(&ring), Some(Some("a".to_owned())));
    assert_eq!(find(&ring.renewed(set(&["b"]), at(5))), Some(Some("b".to_owned())), "not the removed one");
    assert_eq!(find(&ring.renewed(set(&["b", "c"]), at(5))), None);
    let nameless = ring.renewed(vec![key(None)], at(5));
    assert_eq!(find(&nameless), Some(None));
    assert_eq!(nameless.renewed(vec![key(None)], at(6)).size(), (1, 1), "a nameless key goes at once; `a` is kept");
    assert!(ring.find(Some("a"), Algorithm::Rs256, at(10)).is_none(), "a key is for one algorithm");
}

//! Whether a tenant's audit log is whole: every entry in its place, of its content, linked to the one before.

use std::{fmt, str::FromStr};

use alpine_api::AuditEntry;
use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use crate::ui::{Answer, Style, fields};

/// The number and hash of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    seq: i64,
    hash: String,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl FromStr for Head {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let wrong = "it must be an entry's number, a colon and its hash, as --verify prints them";
        let (seq, hash) = text.split_once(':').ok_or(wrong)?;
        let seq = seq.parse().ok().filter(|seq| *seq > 0).ok_or(wrong)?;
        let hex = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex { Ok(Self { seq, hash: hash.to_owned() }) } else { Err(wrong) }
    }
}

impl Serialize for Head {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The log as far as it has been read and found whole.
#[derive(Debug)]
pub struct Chain {
    /// Known from the first entry on, where it was not given.
    tenant: Option<String>,
    last: Head,
    noted: Option<Head>,
}

/// A log that is whole.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    verified: bool,
    entries: i64,
    /// Of an empty log there is none.
    head: Option<Head>,
}

impl Chain {
    pub fn new(tenant: Option<String>, noted: Option<Head>) -> Self {
        Self { tenant, last: Head::default(), noted }
    }

    /// How many entries were found whole.
    pub fn entries(&self) -> i64 {
        self.last.seq
    }

    /// The next entry; what is wrong with it.
    pub fn add(&mut self, entry: &AuditEntry) -> Result<(), String> {
        let expected = self.last.seq + 1;
        if entry.seq != expected {
            return Err(format!("the audit log is broken: after entry {} comes {}", self.last.seq, entry.seq));
        }
        if *self.tenant.get_or_insert_with(|| entry.tenant.clone()) != entry.tenant {
            return Err(format!("the audit log is broken: entry {expected} is another tenant's"));
        }
        if entry.prev_hash != self.last.hash {
            return Err(format!("the audit log is broken: entry {expected} does not follow the one before it"));
        }
        if entry.digest() != entry.hash {
            return Err(format!("the audit log is broken: entry {expected} is not what was written"));
        }
        if self.noted.as_ref().is_some_and(|noted| noted.seq == expected && noted.hash != entry.hash) {
            return Err(format!("the audit log was written anew: entry {expected} has another hash than was noted"));
        }
        self.last = Head { seq: expected, hash: entry.hash.clone() };
        Ok(())
    }

    /// There is no more.
    pub fn end(self) -> Result<Verified, String> {
        match self.noted {
            Some(noted) if noted.seq > self.last.seq => {
                Err(format!("the audit log was cut off: it ends with entry {}, and entry {} was noted", self.last.seq, noted.seq))
            }
            _ => Ok(Verified { verified: true, entries: self.last.seq, head: Some(self.last).filter(|last| last.seq > 0) }),
        }
    }
}

impl Answer for Verified {
    fn for_people(&self, style: Style, _: DateTime<Utc>) -> String {
        let rows = [("entries", Some(self.entries.to_string())), ("head", self.head.as_ref().map(Head::to_string))];
        format!("The audit log is whole.\n{}", fields(&rows, style))
    }
}

#[cfg(test)]
pub mod tests {
    use alpine_api::AuditOutcome;

    use super::*;
    use crate::testing::{at, json_of, people_of, session_id};

    /// Three entries as they should be.
    pub fn log() -> Vec<AuditEntry> {
        let entry = |seq, actor: &str, actor_tenant: &str, action: &str, outcome, reason: Option<&str>| AuditEntry {
            tenant: "acme".to_owned(),
            seq,
            at: at("2026-11-22T10:00:00.000001Z"),
            actor: actor.to_owned(),
            actor_tenant: actor_tenant.to_owned(),
            action: action.to_owned(),
            outcome,
            target: Some(session_id(1).to_string()),
            owner: Some("ann".to_owned()),
            reason: reason.map(str::to_owned),
            request_id: "r1".to_owned(),
            prev_hash: String::new(),
            hash: String::new(),
        };
        chained(vec![
            entry(1, "root", "acme", "session.down", AuditOutcome::Done, Some("co\u{1b}st")),
            entry(2, "bob", "acme", "session.read", AuditOutcome::Denied, None),
            entry(3, "olga", "house", "tenant.update", AuditOutcome::Done, Some("max_operations: 5 -> none")),
        ])
    }

    fn chained(mut entries: Vec<AuditEntry>) -> Vec<AuditEntry> {
        let mut last = String::new();
        for entry in &mut entries {
            entry.prev_hash.clone_from(&last);
            entry.hash = entry.digest();
            last.clone_from(&entry.hash);
        }
        entries
    }

    fn verify(entries: &[AuditEntry], noted: Option<&Head>) -> Result<Verified, String> {
        let mut chain = Chain::new(None, noted.cloned());
        entries.iter().try_for_each(|entry| chain.add(entry))?;
        chain.end()
    }

    #[test]
    fn a_whole_log_is_whole_and_its_head_can_be_found_again() {
        let log = log();
        let verified = verify(&log, None).unwrap();
        assert_eq!(verified.entries, 3);
        let head: Head = verified.head.as_ref().unwrap().to_string().parse().unwrap();
        assert_eq!(verify(&log, Some(&head)), Ok(verified));
        assert_eq!(verify(&[], None), Ok(Verified { verified: true, entries: 0, head: None }));
    }

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let verified = verify(&log(), None).unwrap();
        insta::assert_snapshot!("audit_verified_json", json_of(&verified));
        insta::assert_snapshot!("audit_verified_people", people_of(&verified));
    }

    #[test]
    fn whatever_is_done_to_a_log_shows() {
        let whole = log();
        let head = verify(&whole, None).unwrap().head;
        let with = |change: &dyn Fn(&mut Vec<AuditEntry>)| {
            let mut entries = whole.clone();
            change(&mut entries);
            verify(&entries, head.as_ref()).unwrap_err()
        };
        assert!(with(&|log| log[1].actor = "ann".into()).ends_with("entry 2 is not what was written"));
        assert!(with(&|log| log[1].hash = log[0].hash.clone()).ends_with("entry 2 is not what was written"));
        assert!(with(&|log| drop(log.remove(1))).ends_with("after entry 1 comes 3"));
        assert!(with(&|log| drop(log.remove(0))).ends_with("after entry 0 comes 2"));
        assert!(with(&|log| log.swap(0, 1)).ends_with("after entry 0 comes 2"));
        assert!(
            with(&|log| {
                log.swap(0, 1);
                (log[0].seq, log[1].seq) = (1, 2);
            })
            .ends_with("entry 1 does not follow the one before it")
        );
        assert!(with(&|log| log[2].tenant = "other".into()).ends_with("entry 3 is another tenant's"));
        // One who computes all the digests again is found by what was noted before.
        assert!(
            with(&|log| {
                log[0].actor = "nobody".into();
                *log = chained(log.clone());
            })
            .ends_with("entry 3 has another hash than was noted")
        );
        assert!(with(&|log| drop(log.pop())).contains("was cut off: it ends with entry 2"));
        assert!(with(&|log| log.clear()).contains("was cut off: it ends with entry 0"));
    }

    #[test]
    fn a_head_is_of_its_form() {
        for bad in ["", "3", "3:", ":ab", "0:ab", "-1:00", &format!("1:{}", "A".repeat(64)), &format!("1:{}", "a".repeat(63))] {
            assert!(bad.parse::<Head>().is_err(), "{bad}");
        }
    }
}

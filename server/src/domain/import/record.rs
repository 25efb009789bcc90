//! The record that a session of another ledger left: whether it is one, and whose.

use alpine_api::{
    RECORD_MAX_BYTES, RECORD_SCHEMA_VERSION, SessionState, json_without_credentials, repo_url_without_credentials, without_credentials,
};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{BadImport, micros};
use crate::domain::record::digest;

/// A record as the bytes that will be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub bytes: Vec<u8>,
    pub sha256: [u8; 32],
    pub persisted_at: DateTime<Utc>,
    /// It was written anew, without the credentials that stood in it.
    pub cleaned: bool,
}

/// What the record must agree with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose<'a> {
    pub session_id: &'a str,
    pub owner: &'a str,
    pub repo_url: &'a str,
    pub branch: &'a str,
    /// No record is of later.
    pub latest: DateTime<Utc>,
}

pub(super) fn check(json: &str, whose: &Whose<'_>) -> Result<Kept, BadImport> {
    let bad = |why: String| BadImport::at("record", why);
    if json.len() > RECORD_MAX_BYTES {
        return Err(bad(format!("{} bytes; at most {RECORD_MAX_BYTES} fit", json.len())));
    }
    let mut value: Value = serde_json::from_str(json).map_err(|_| bad("it is not JSON".into()))?;
    if !value.is_object() {
        return Err(bad("it is not an object".into()));
    }
    let text = |name: &str| value[name].as_str();
    let is = |name: &str, expected: &str| text(name) == Some(expected);
    if !is("schema_version", RECORD_SCHEMA_VERSION) {
        return Err(BadImport::at("record.schema_version", format!("it must be {RECORD_SCHEMA_VERSION:?}")));
    }
    for (name, expected) in [("session_id", whose.session_id), ("principal_id", whose.owner), ("branch", whose.branch)] {
        if !is(name, expected) {
            return Err(BadImport::at(&format!("record.{name}"), "it is not the session's"));
        }
    }
    let repo_url = text("repo_url").and_then(|url| repo_url_without_credentials(url).ok());
    if repo_url.is_none_or(|(url, _)| url.as_str() != whose.repo_url) {
        return Err(BadImport::at("record.repo_url", "it is not the session's"));
    }
    if !is("state", SessionState::Stopped.as_str()) {
        return Err(BadImport::at("record.state", "it must be \"stopped\""));
    }
    let persisted_at = text("persisted_at").and_then(|text| text.parse::<DateTime<Utc>>().ok()).map(micros);
    let persisted_at = persisted_at.ok_or_else(|| BadImport::at("record.persisted_at", "it must be a time (RFC 3339)"))?;
    if persisted_at > whose.latest || persisted_at.timestamp() < 0 {
        return Err(BadImport::at("record.persisted_at", "it is not in the past"));
    }
    // PostgreSQL's JSON has no such character, and who reads records with it could not.
    if json.contains("\\u0000") {
        return Err(bad("it holds a NUL character".into()));
    }
    // The text is looked at too: a name that is there twice hides its first value from whoever reads it as a value.
    let dirty = json_without_credentials(&mut value) | json.split('"').any(|part| without_credentials(part).is_some());
    let bytes = if dirty { value.to_string().into_bytes() } else { json.as_bytes().to_vec() };
    Ok(Kept { sha256: digest(&bytes), bytes, persisted_at, cleaned: dirty })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{ "schema_version": "v1", "session_id": "s-1", "principal_id": "ann", "repo_url": "https://h/r", "branch": "main",
        "state": "stopped", "persisted_at": "2026-01-02T03:04:05.123456789Z", "note": "kept as it is" }"#;

    fn checked(json: &str) -> Result<Kept, String> {
        let latest = "2026-11-01T00:00:00Z".parse().unwrap();
        let whose = Whose { session_id: "s-1", owner: "ann", repo_url: "https://h/r", branch: "main", latest };
        check(json, &whose).map_err(|bad| bad.to_string())
    }

    #[test]
    fn a_record_is_kept_byte_for_byte_with_its_time_as_the_database_rounds_it() {
        let kept = checked(RECORD).unwrap();
        assert_eq!(kept.bytes, RECORD.as_bytes());
        assert!(!kept.cleaned);
        assert_eq!(kept.persisted_at.to_rfc3339(), "2026-01-02T03:04:05.123457+00:00");
    }

    #[test]
    fn a_record_of_another_is_refused_and_says_by_what() {
        for (from, to, place) in [
            ("\"v1\"", "\"v2\"", "record.schema_version"),
            ("s-1", "s-2", "record.session_id"),
            ("ann", "bob", "record.principal_id"),
            ("main", "next", "record.branch"),
            ("https://h/r", "https://h/other", "record.repo_url"),
            ("\"stopped\"", "\"failed\"", "record.state"),
            ("2026-01", "2036-01", "record.persisted_at"),
            ("2026-01", "yesterday", "record.persisted_at"),
            ("as it is", "as it\\u0000 is", "record"),
        ] {
            let why = checked(&RECORD.replace(from, to)).unwrap_err();
            assert!(why.starts_with(&format!("{place}: ")), "{place}: {why}");
        }
        let large = RECORD.replace("as it is", &"x".repeat(RECORD_MAX_BYTES));
        assert!(checked(&large).unwrap_err().contains("at most 524288 fit"));
        for json in ["[]", "\"text\"", "null"] {
            assert_eq!(checked(json).unwrap_err(), "record: it is not an object");
        }
    }

    #[test]
    fn credentials_are_taken_out_of_it_also_where_a_name_hides_them() {
        for dirty in [
            RECORD.replace("https://h/r", "https://u:s3cret@h/r"),
            RECORD.replace("kept as it is", "clone of https://u:s3cret@h/r failed"),
            RECORD.replace("{ \"schema", "{ \"repo_url\": \"https://u:s3cret@h/r\", \"schema"),
        ] {
            let kept = checked(&dirty).unwrap();
            let text = String::from_utf8(kept.bytes.clone()).unwrap();
            assert!(kept.cleaned && !text.contains("s3cret"), "{text}");
            assert_eq!(kept.sha256, digest(&kept.bytes));
        }
    }
}

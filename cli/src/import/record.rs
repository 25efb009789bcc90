//! The record of a session: the bytes as they stand in the file.

use alpine_api::{RECORD_MAX_BYTES, json_without_credentials};
use serde_json::{Value, value::RawValue};

use super::{
    entries::SESSION_ID,
    fields::{Fields, Wrong, minified},
};

/// Within a session's entry.
pub const OWN: &[&str] = &["record", "persisted_record", "session_record"];
/// Where a record stands in something that says more of it.
const WITHIN: &[&str] = &["payload", "record", "data"];

/// A record that was found.
#[derive(Debug)]
pub struct Found {
    pub json: Box<RawValue>,
    pub durable_object_id: Option<String>,
    pub warning: Option<&'static str>,
}

/// Whose it says that it is.
pub fn session_of(raw: &RawValue) -> Option<String> {
    let outer = Fields::of(raw).ok()?;
    let own = outer.text(SESSION_ID).ok().flatten();
    own.or_else(|| Fields::of(outer.raw(WITHIN)?).ok()?.text(SESSION_ID).ok().flatten())
}

pub fn read(raw: &RawValue) -> Result<Found, Wrong> {
    // A text that is JSON: the record as it was stored.
    if let Ok(text) = serde_json::from_str::<String>(raw.get()) {
        let record = RawValue::from_string(text).map_err(|_| "the record is not JSON")?;
        return fitted(record.get());
    }
    let outer = Fields::of(raw).map_err(|_| "the record is not an object")?;
    match outer.raw(WITHIN).filter(|_| outer.raw(&["state_transitions"]).is_none()) {
        Some(inner) => {
            let durable = outer.text(&["durable_object_id", "id"])?;
            let found = read(inner)?;
            Ok(Found { durable_object_id: durable.or(found.durable_object_id), ..found })
        }
        None => fitted(raw.get()),
    }
}

/// As it stands if it fits; else without the space between its parts.
fn fitted(json: &str) -> Result<Found, Wrong> {
    let mut warning = None;
    let mut text = json.to_owned();
    if text.len() > RECORD_MAX_BYTES {
        text = minified(&text);
        warning = Some("record: too large as it stands in the file, so without the space between its parts");
    }
    if text.len() > RECORD_MAX_BYTES {
        return Err(format!("the record is {} bytes; at most {RECORD_MAX_BYTES} fit", text.len()));
    }
    // No credential leaves this machine.
    let mut value: Value = serde_json::from_str(&text).map_err(|_| "the record is not JSON")?;
    let hidden = text.split('"').any(|part| alpine_api::without_credentials(part).is_some());
    if json_without_credentials(&mut value) || hidden {
        text = value.to_string();
        warning = Some("record: credentials removed, so its bytes and digest are not the original's");
    }
    let json = RawValue::from_string(text).map_err(|_| "the record is not JSON")?;
    Ok(Found { json, durable_object_id: None, warning })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str) -> Result<Found, Wrong> {
        read(&RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn a_record_is_taken_as_it_stands_wherever_it_stands() {
        let record = r#"{ "schema_version": "v1",  "session_id": "s" }"#;
        for (json, durable) in [
            (record.to_owned(), None),
            (serde_json::to_string(record).unwrap(), None),
            (format!(r#"{{"durable_object_id": "rec_1", "payload": {record}}}"#), Some("rec_1")),
        ] {
            let found = found(&json).unwrap();
            assert_eq!((found.json.get(), found.durable_object_id.as_deref(), found.warning), (record, durable, None));
        }
    }

    #[test]
    fn what_does_not_fit_is_packed_and_what_still_does_not_is_refused() {
        let padded = format!("{{{}\"a\": 1}}", " ".repeat(RECORD_MAX_BYTES));
        let found_padded = found(&padded).unwrap();
        assert_eq!(found_padded.json.get(), r#"{"a":1}"#);
        assert!(found_padded.warning.unwrap().contains("too large"));
        let large = format!("{{\"a\": \"{}\"}}", "x".repeat(RECORD_MAX_BYTES));
        assert!(found(&large).unwrap_err().contains("at most 524288 fit"));
        assert!(found("[]").is_err() && found("\"{\"").is_err());
    }

    #[test]
    fn credentials_stay_here() {
        let found = found(r#"{"repo_url": "https://u:s3cret@h/r"}"#).unwrap();
        assert_eq!(found.json.get(), r#"{"repo_url":"https://h/r"}"#);
        assert!(found.warning.is_some());
    }
}

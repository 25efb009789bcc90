//! Idempotency keys: one text `up:<principal>:<client-request-id>`, which alone does not say where the principal ends.

use serde_json::value::RawValue;

use super::{
    entries::{OPERATION_ID, SESSION_ID},
    fields::{Fields, Wrong},
};

/// Of an operation's or a session's own entry.
pub const CLIENT_REQUEST_ID: &[&str] = &["idempotency_key", "client_request_id"];
const KEY: &[&str] = &["key", "idempotency_key"];

/// A key and what it names.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub text: String,
    pub operation_id: Option<String>,
    pub session_id: Option<String>,
}

impl Found {
    pub fn is_of_up(&self) -> bool {
        !self.text.starts_with("down:")
    }
}

/// `"<key>": "<operation>"`, `"<key>": {…}`, or `{"key": "<key>", …}`. What was saved as its answer is not read: it may
/// say that what failed was done.
pub fn read(name: Option<String>, raw: &RawValue) -> Result<Found, Wrong> {
    if let (Some(text), Ok(operation)) = (&name, serde_json::from_str::<String>(raw.get())) {
        return Ok(Found { text: text.clone(), operation_id: Some(operation), session_id: None });
    }
    let fields = Fields::of(raw)?;
    let nested = fields.raw(&["response", "result"]).and_then(|answer| Fields::of(answer).ok());
    let from_answer = |names| nested.as_ref().and_then(|answer| answer.text(names).ok().flatten());
    Ok(Found {
        text: name.or(fields.text(KEY)?).ok_or("key is missing")?,
        operation_id: fields.text(OPERATION_ID)?.or_else(|| from_answer(OPERATION_ID)),
        session_id: fields.text(SESSION_ID)?.or_else(|| from_answer(SESSION_ID)),
    })
}

/// The client-request-id, the owner being known: `up:a:b:c` is `b:c` of `a` and `c` of `a:b`. `None`: of another action,
/// which needs no key here. A text without an action is the id itself.
pub fn resolve(text: &str, owner: &str) -> Result<Option<String>, Wrong> {
    let Some((action, rest)) = text.split_once(':') else { return checked(text).map(Some) };
    if action == "down" && rest.starts_with(owner) {
        return Ok(None);
    }
    if action != "up" {
        return checked(text).map(Some);
    }
    let id = rest.strip_prefix(owner).and_then(|rest| rest.strip_prefix(':'));
    let id = id.ok_or("the key is not of the owner of its session, so where its client-request-id begins cannot be told")?;
    checked(id).map(Some)
}

fn checked(id: &str) -> Result<String, Wrong> {
    let good = (1..=255).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    if good { Ok(id.to_owned()) } else { Err("a client-request-id is 1 to 255 visible ASCII characters".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_says_where_the_id_begins() {
        assert_eq!(resolve("up:a:b:c", "a"), Ok(Some("b:c".to_owned())));
        assert_eq!(resolve("up:a:b:c", "a:b"), Ok(Some("c".to_owned())));
        assert_eq!(resolve("plain-id", "a"), Ok(Some("plain-id".to_owned())));
        assert_eq!(resolve("down:a:s-1", "a"), Ok(None));
        for (text, owner) in [("up:a:b", "b"), ("up:ab:c", "a"), ("up:a", "a"), ("up:a:", "a"), ("up:a:b c", "a")] {
            assert!(resolve(text, owner).is_err(), "{text} of {owner}");
        }
    }

    #[test]
    fn a_key_is_read_in_each_of_its_forms_and_its_saved_answer_only_for_ids() {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
        let found = |text: &str, operation: Option<&str>, session: Option<&str>| Found {
            text: text.to_owned(),
            operation_id: operation.map(str::to_owned),
            session_id: session.map(str::to_owned),
        };
        assert_eq!(read(Some("up:a:k".into()), &raw(r#""o-1""#)), Ok(found("up:a:k", Some("o-1"), None)));
        assert_eq!(read(None, &raw(r#"{"key": "up:a:k", "session_id": "s"}"#)), Ok(found("up:a:k", None, Some("s"))));
        let answer = r#"{"response": {"operation_id": "o-1", "state": "ready"}}"#;
        assert_eq!(read(Some("up:a:k".into()), &raw(answer)), Ok(found("up:a:k", Some("o-1"), None)));
        assert!(read(None, &raw("{}")).is_err() && read(None, &raw("5")).is_err());
    }
}

//! The predecessor's ledger, `sessions.json` (schema v1), read into what the control plane takes: one bundle a session.
//! docs/import.md has the form.

mod entries;
mod fields;
mod keys;
mod record;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use alpine_api::{ErrorCode, ImportSession, ImportedKey, ImportedOperation, ImportedSession};
use serde::Serialize;
use serde_json::value::RawValue;

use self::fields::{Entries, Fields, Wrong};
use crate::error::Report;

/// The largest file that is read, in bytes.
const MOST: u64 = 256 * 1024 * 1024;

/// Why a file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("there is no file {}", .0.display())]
    Missing(PathBuf),
    #[error("{} is {bytes} bytes; at most {MOST} are read", .path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is not JSON (line {line}, column {column})", .path.display())]
    NotJson { path: PathBuf, line: usize, column: usize },
    #[error("{} is not a ledger: {why}", .path.display())]
    NotALedger { path: PathBuf, why: String },
}

impl FileError {
    pub fn report(&self) -> Report {
        let next_step = match self {
            Self::Missing(_) => "name the predecessor's ledger: alpine import <FILE>",
            Self::TooLarge { .. } => "import it in parts",
            Self::Unreadable { .. } => "check the file and its rights",
            Self::NotJson { .. } | Self::NotALedger { .. } => {
                "give the sessions.json of the predecessor, schema v1; docs/import.md has its form"
            }
        };
        Report::new(ErrorCode::InvalidRequest, self, next_step)
    }
}

/// An entry that is not of its form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Malformed {
    /// Where it stands, by its id if that can be shown.
    pub entry: String,
    pub cause: String,
}

/// One session with all that is its own, and what was done to it on the way.
#[derive(Debug)]
pub struct Bundle {
    pub entry: String,
    pub import: ImportSession,
    pub warnings: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Ledger {
    /// How many entries there are under `sessions`.
    pub sessions: usize,
    pub bundles: Vec<Bundle>,
    pub malformed: Vec<Malformed>,
    /// Members that this program does not know; they stay in the file only.
    pub unknown_fields: usize,
    /// Keys of other actions than `up`, which need none here.
    pub other_keys: usize,
}

/// A session while its parts are gathered.
#[derive(Debug)]
struct Draft {
    entry: String,
    session: ImportedSession,
    transitions: Vec<entries::Transition>,
    operations: Vec<ImportedOperation>,
    keys: Vec<ImportedKey>,
    record: Option<Box<RawValue>>,
    warnings: Vec<String>,
    /// One part that cannot be read keeps the whole session out: half of it would stand in the way of the rest.
    bad: bool,
}

pub fn read(path: &Path) -> Result<Ledger, FileError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => FileError::Missing(path.to_owned()),
        _ => FileError::Unreadable { path: path.to_owned(), source },
    };
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > MOST {
        return Err(FileError::TooLarge { path: path.to_owned(), bytes });
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let whole: Box<RawValue> = serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| FileError::NotJson {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
    })?;
    of_json(&whole).map_err(|why| FileError::NotALedger { path: path.to_owned(), why })
}

const VERSION: &[&str] = &["schema_version", "version"];
const SESSIONS: &[&str] = &["sessions"];
const OPERATIONS: &[&str] = &["operations"];
const TRANSITIONS: &[&str] = &["transitions", "state_transitions"];
const RECORDS: &[&str] = &["records", "session_records"];
const KEYS: &[&str] = &["idempotency_keys", "idempotency"];

fn of_json(whole: &RawValue) -> Result<Ledger, Wrong> {
    let top = Fields::of(whole)?;
    match top.raw(VERSION).map(RawValue::get) {
        Some(r#""v1""# | r#""1""# | "1") => {}
        Some(_) => return Err("its schema_version is not v1".to_owned()),
        None => return Err("it has no schema_version".to_owned()),
    }
    if top.raw(SESSIONS).is_none() {
        return Err("it has no sessions".to_owned());
    }
    let mut gathered = Gathered::default();
    gathered.ledger.unknown_fields = top.others(&[VERSION, SESSIONS, OPERATIONS, TRANSITIONS, RECORDS, KEYS]);
    gathered.sessions(top.entries(SESSIONS)?);
    gathered.operations(top.entries(OPERATIONS)?);
    gathered.transitions(top.entries(TRANSITIONS)?);
    gathered.records(top.entries(RECORDS)?);
    gathered.keys(top.entries(KEYS)?);
    Ok(gathered.done())
}

/// An id as it can be shown: what is no plain word may be anything.
fn shown(kind: &str, id: Option<&str>, index: usize) -> String {
    let plain =
        |id: &&str| (1..=200).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    id.filter(plain).map_or_else(|| format!("{kind}[{index}]"), |id| format!("{kind}[{index}] {id}"))
}

#[derive(Debug, Default)]
struct Gathered {
    ledger: Ledger,
    drafts: Vec<Draft>,
    by_id: BTreeMap<String, usize>,
    /// Ids of sessions whose own entry cannot be taken: what belongs to them is not missing its session.
    refused: BTreeSet<String>,
    /// The session of each operation.
    by_operation: BTreeMap<String, usize>,
}

impl Gathered {
    fn malformed(&mut self, entry: String, cause: impl Into<String>) {
        self.ledger.malformed.push(Malformed { entry, cause: cause.into() });
    }

    /// A part of a session that is known.
    fn bad_part(&mut self, at: usize, entry: String, cause: impl Into<String>) {
        self.drafts[at].bad = true;
        let of = &self.drafts[at].entry;
        let cause = format!("{}; so its session, {of}, is not imported", cause.into());
        self.malformed(entry, cause);
    }

    /// The session that an entry names; what names none is told.
    fn owner_of(&mut self, id: Option<&str>, entry: &str) -> Option<usize> {
        let Some(id) = id else {
            self.malformed(entry.to_owned(), "it names no session");
            return None;
        };
        let found = self.by_id.get(id).copied();
        if found.is_none() && !self.refused.contains(id) {
            self.malformed(entry.to_owned(), "its session is not in the file");
        }
        found
    }

    fn sessions(&mut self, entries: Entries) {
        self.ledger.sessions = entries.0.len();
        let mut seen = BTreeMap::<String, usize>::new();
        for (name, raw) in &entries.0 {
            let id = Fields::of(raw).ok().and_then(|fields| fields.text(entries::SESSION_ID).ok().flatten()).or_else(|| name.clone());
            *seen.entry(id.unwrap_or_default()).or_default() += 1;
        }
        for (index, (name, raw)) in entries.0.into_iter().enumerate() {
            let fields = Fields::of(&raw);
            let own = fields.as_ref().ok().and_then(|fields| fields.text(entries::SESSION_ID).ok().flatten());
            let id = own.clone().or_else(|| name.clone());
            let entry = shown("sessions", id.as_deref(), index);
            let twice = id.as_ref().is_some_and(|id| seen.get(id).is_some_and(|count| *count > 1));
            let read = match fields {
                _ if twice => Err("this id is there more than once; none of them is imported".to_owned()),
                Ok(_) if name.is_some() && own.is_some() && own != name => {
                    Err("its session_id is not the name that it stands under".to_owned())
                }
                Ok(fields) => entries::session(&fields, id.clone(), &mut self.ledger.unknown_fields)
                    .map(|(session, warnings)| (fields, session, warnings)),
                Err(wrong) => Err(wrong),
            };
            match read {
                Ok((fields, session, warnings)) => {
                    let at = self.drafts.len();
                    self.by_id.insert(session.session_id.clone(), at);
                    let (transitions, operations, keys) = (Vec::new(), Vec::new(), Vec::new());
                    self.drafts.push(Draft { entry, session, transitions, operations, keys, record: None, warnings, bad: false });
                    self.nested(at, &fields);
                }
                Err(wrong) => {
                    self.refused.extend(id);
                    self.malformed(entry, wrong);
                }
            }
        }
    }

    /// What stands within the session's own entry.
    fn nested(&mut self, at: usize, fields: &Fields) {
        let within = |what: &str, of: &Self| format!("{what} of {}", of.drafts[at].entry);
        for (names, what) in [(entries::OWN_OPERATIONS, "operations"), (TRANSITIONS, "transitions")] {
            match fields.entries(names) {
                Ok(entries) => {
                    for (index, (name, raw)) in entries.0.into_iter().enumerate() {
                        let entry = within(&format!("{what}[{index}]"), self);
                        if what == "operations" { self.operation(at, entry, name, &raw) } else { self.transition(at, entry, &raw) }
                    }
                }
                Err(wrong) => self.bad_part(at, within(what, self), wrong),
            }
        }
        if let Some(raw) = fields.raw(record::OWN) {
            let entry = within("record", self);
            self.record(at, entry, raw, None);
        }
        match fields.text(keys::CLIENT_REQUEST_ID) {
            Ok(Some(key)) => {
                let entry = within("client_request_id", self);
                self.key_of(at, entry, &key, None);
            }
            Ok(None) => {}
            Err(wrong) => self.bad_part(at, within("client_request_id", self), wrong),
        }
    }

    fn operations(&mut self, entries: Entries) {
        for (index, (name, raw)) in entries.0.into_iter().enumerate() {
            let fields = Fields::of(&raw);
            let text = |names| fields.as_ref().ok().and_then(|fields| fields.text(names).ok().flatten());
            let id = text(entries::OPERATION_ID).or_else(|| name.clone());
            let entry = shown("operations", id.as_deref(), index);
            if let Some(at) = self.owner_of(text(entries::SESSION_ID).as_deref(), &entry) {
                self.operation(at, entry, name, &raw);
            }
        }
    }

    fn operation(&mut self, at: usize, entry: String, name: Option<String>, raw: &RawValue) {
        let unknown = &mut self.ledger.unknown_fields;
        let read = Fields::of(raw).and_then(|fields| {
            let key = fields.text(keys::CLIENT_REQUEST_ID)?;
            Ok((entries::operation(&fields, name, unknown)?, key))
        });
        match read {
            Ok((operation, key)) => {
                let id = operation.operation_id.clone();
                self.by_operation.insert(id.clone(), at);
                self.drafts[at].operations.push(operation);
                if let Some(key) = key {
                    self.key_of(at, entry, &key, Some(id));
                }
            }
            Err(wrong) => self.bad_part(at, entry, wrong),
        }
    }

    /// A list of them all, or a list for each session.
    fn transitions(&mut self, entries: Entries) {
        for (index, (name, raw)) in entries.0.into_iter().enumerate() {
            let listed = raw.get().trim_start().starts_with('[');
            let id = Fields::of(&raw).ok().and_then(|fields| fields.text(entries::SESSION_ID).ok().flatten());
            let id = id.or_else(|| name.filter(|_| listed));
            let entry = shown("transitions", id.as_deref(), index);
            let Some(at) = self.owner_of(id.as_deref(), &entry) else { continue };
            match serde_json::from_str::<Entries>(raw.get()) {
                Ok(each) if listed => {
                    for (index, (_, raw)) in each.0.into_iter().enumerate() {
                        self.transition(at, format!("{entry}[{index}]"), &raw);
                    }
                }
                _ => self.transition(at, entry, &raw),
            }
        }
    }

    fn transition(&mut self, at: usize, entry: String, raw: &RawValue) {
        let unknown = &mut self.ledger.unknown_fields;
        match Fields::of(raw).and_then(|fields| entries::transition(&fields, unknown)) {
            Ok(transition) => self.drafts[at].transitions.push(transition),
            Err(wrong) => self.bad_part(at, entry, wrong),
        }
    }

    fn records(&mut self, entries: Entries) {
        for (index, (name, raw)) in entries.0.into_iter().enumerate() {
            let own = record::session_of(&raw);
            // The name it stands under is the session's, or its own.
            let under = name.as_deref().filter(|name| self.by_id.contains_key(*name) || self.refused.contains(*name));
            let id = under.map(str::to_owned).or(own);
            let durable = name.filter(|name| id.as_deref() != Some(name));
            let entry = shown("records", id.as_deref(), index);
            if let Some(at) = self.owner_of(id.as_deref(), &entry) {
                self.record(at, entry, &raw, durable);
            }
        }
    }

    fn record(&mut self, at: usize, entry: String, raw: &RawValue, durable: Option<String>) {
        match record::read(raw) {
            Ok(_) if self.drafts[at].record.is_some() => self.bad_part(at, entry, "its session has another record"),
            Ok(found) => {
                let draft = &mut self.drafts[at];
                draft.warnings.extend(found.warning.map(str::to_owned));
                draft.record = Some(found.json);
                let durable = found.durable_object_id.or(durable);
                draft.session.durable_object_id = draft.session.durable_object_id.take().or(durable);
            }
            Err(wrong) => self.bad_part(at, entry, wrong),
        }
    }

    fn keys(&mut self, entries: Entries) {
        for (index, (name, raw)) in entries.0.into_iter().enumerate() {
            let entry = format!("idempotency_keys[{index}]");
            match keys::read(name, &raw) {
                Ok(found) => {
                    let by_operation = found.operation_id.as_ref().and_then(|id| self.by_operation.get(id)).copied();
                    let at = by_operation.or_else(|| found.session_id.as_ref().and_then(|id| self.by_id.get(id)).copied());
                    match (found.is_of_up(), at) {
                        (false, _) => self.ledger.other_keys += 1,
                        (true, Some(at)) => self.key_of(at, entry, &found.text, found.operation_id),
                        (true, None) if found.session_id.as_ref().is_some_and(|id| self.refused.contains(id)) => {}
                        (true, None) => {
                            self.malformed(
                                entry,
                                "it names no operation or session of the file, and whose it is cannot be told from its text",
                            );
                        }
                    }
                }
                Err(wrong) => self.malformed(entry, wrong),
            }
        }
    }

    /// A key that is not of its form is told, and its session is imported without it.
    fn key_of(&mut self, at: usize, entry: String, text: &str, operation_id: Option<String>) {
        match keys::resolve(text, &self.drafts[at].session.owner_principal_id) {
            Ok(None) => self.ledger.other_keys += 1,
            Ok(Some(key)) => {
                let keys = &mut self.drafts[at].keys;
                if !keys.iter().any(|known| known.key == key) {
                    keys.push(ImportedKey { key, operation_id });
                }
            }
            Err(wrong) => self.malformed(entry, wrong),
        }
    }

    fn done(mut self) -> Ledger {
        for draft in self.drafts {
            let Draft { entry, session, transitions, operations, keys, record, warnings, bad } = draft;
            if !bad {
                let import = ImportSession {
                    dry_run: false,
                    session,
                    transitions: entries::in_order(transitions),
                    operations: entries::oldest_first(operations),
                    keys,
                    record,
                };
                self.ledger.bundles.push(Bundle { entry, import, warnings });
            }
        }
        self.ledger
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

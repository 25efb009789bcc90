//! `alpine import`: moving in from the predecessor.

use std::{
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use alpine_api::{ImportOutcome, ImportSession, Imported, SessionId, SessionState};
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use crate::{
    Context, asked_to_end,
    client::{Client, ClientError},
    error::CliError,
    import::{Bundle, FileError, Ledger, Malformed, read},
    ui::{Answer, Style, clean, fields},
};

/// Bring the predecessor's ledger into the control plane (administrators)
///
/// Sessions with their history, operations, records and client-request-ids, for the owners that they had. What is active
/// in the file is brought in and ended: nothing of it runs here. The same file again changes nothing. Entries that cannot
/// be taken are told one by one, and the others are imported all the same; the file itself is only read.
#[derive(Debug, Args)]
pub struct Import {
    /// The ledger, schema v1 [default: ~/.alpine/sessions.json]
    file: Option<PathBuf>,
    /// Check everything, write nothing
    #[arg(long)]
    dry_run: bool,
}

/// What came of a whole file.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub dry_run: bool,
    /// How many sessions the file has.
    pub sessions: usize,
    pub imported: usize,
    pub already_imported: usize,
    pub would_import: usize,
    pub malformed: Vec<Malformed>,
    /// Of operations that ended 72 hours ago or more: free by now.
    pub expired_keys: Vec<Key>,
    pub results: Vec<Outcome>,
    /// Members of entries that are not known here; they stay in the file only.
    pub unknown_fields: usize,
}

#[derive(Debug, Serialize)]
pub struct Key {
    session_id: SessionId,
    client_request_id: String,
}

#[derive(Debug, Serialize)]
pub struct Outcome {
    original_id: String,
    session_id: SessionId,
    outcome: ImportOutcome,
    state: Option<SessionState>,
    client_request_ids: Vec<String>,
    warnings: Vec<String>,
}

impl Import {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let file = self.file.clone().or_else(|| context.env.predecessors_ledger());
        let ledger = read(&file.ok_or_else(|| FileError::Missing("~/.alpine/sessions.json".into()))?)?;
        let client = context.client()?;
        let summary = tokio::select! {
            biased;
            summary = self.bring(context, &client, ledger) => summary?,
            () = asked_to_end() => return Err(CliError::ImportInterrupted),
        };
        if summary.malformed.is_empty() {
            context.ui.answer(&summary);
            return Ok(());
        }
        if !context.ui.json() {
            context.ui.answer(&summary);
        }
        Err(CliError::Import(Box::new(summary)))
    }

    async fn bring(&self, context: &Context, client: &Client, ledger: Ledger) -> Result<Summary, CliError> {
        let Ledger { sessions, bundles, malformed, unknown_fields, other_keys } = ledger;
        if other_keys > 0 {
            context.ui.note(&format!("{other_keys} keys of other commands than up: they need none here"));
        }
        let sent = self.send(context, client, &bundles).await?;
        let mut summary = Summary {
            dry_run: self.dry_run,
            sessions,
            imported: 0,
            already_imported: 0,
            would_import: 0,
            malformed,
            expired_keys: Vec::new(),
            results: Vec::new(),
            unknown_fields,
        };
        for (bundle, answer) in bundles.into_iter().zip(sent) {
            match answer {
                Ok(imported) => summary.add(bundle, imported),
                Err(error) => summary.malformed.push(Malformed { entry: bundle.entry, cause: error.to_string() }),
            }
        }
        Ok(summary)
    }

    /// Some at a time; what the server says of each, in the file's order. What is refused for another reason than its
    /// content ends it all: what was imported by then is there, and the next try goes on from it.
    async fn send(&self, context: &Context, client: &Client, bundles: &[Bundle]) -> Result<Vec<Result<Imported, ClientError>>, CliError> {
        let (next, done, stopped) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(None));
        let show = |done| context.ui.progress(vec![format!("{done} of {} sessions", bundles.len())]);
        show(0);
        let answers = Mutex::new((0..bundles.len()).map(|_| None).collect::<Vec<_>>());
        let locked = |stopped: &Mutex<Option<ClientError>>| stopped.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let worker = || async {
            while !locked(&stopped) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(bundle) = bundles.get(at) else { break };
                let body = ImportSession { dry_run: self.dry_run, ..bundle.import.clone() };
                match Box::pin(client.import(&context.ui, &body)).await {
                    Err(error) if !error.is_of_content() => *stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
                    answer => {
                        answers.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(answer);
                        show(done.fetch_add(1, Ordering::Relaxed) + 1);
                    }
                }
            }
        };
        // Most of the time of each is waiting for its record to be verified.
        tokio::join!(
            worker(),
            worker(),
            worker(),
            worker(),
            worker(),
            worker(),
            worker(),
            worker(),
            worker(),
            worker(),
            worker(),
            worker()
        );
        context.ui.progress(Vec::new());
        match stopped.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error.into()),
            None => Ok(answers.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()),
        }
    }
}

impl Summary {
    fn add(&mut self, bundle: Bundle, imported: Imported) {
        match imported.outcome {
            ImportOutcome::Imported => self.imported += 1,
            ImportOutcome::AlreadyImported => self.already_imported += 1,
            ImportOutcome::WouldImport => self.would_import += 1,
        }
        let session_id = imported.session_id;
        self.expired_keys.extend(imported.expired_keys.into_iter().map(|client_request_id| Key { session_id, client_request_id }));
        self.results.push(Outcome {
            original_id: imported.original_id,
            session_id,
            outcome: imported.outcome,
            state: imported.state,
            client_request_ids: imported.keys,
            warnings: [bundle.warnings, imported.warnings].concat(),
        });
    }
}

impl Answer for Summary {
    fn for_people(&self, style: Style, _: DateTime<Utc>) -> String {
        let count = |count: usize| Some(count.to_string()).filter(|_| count > 0);
        let rows = [
            ("sessions in the file", Some(self.sessions.to_string())),
            ("imported", Some(self.imported.to_string()).filter(|_| !self.dry_run)),
            ("would be imported", Some(self.would_import.to_string()).filter(|_| self.dry_run)),
            ("already there", count(self.already_imported)),
            ("malformed", Some(self.malformed.len().to_string())),
            ("expired keys", count(self.expired_keys.len())),
            ("unknown members", count(self.unknown_fields)),
        ];
        let warned = self.results.iter().filter(|outcome| !outcome.warnings.is_empty());
        let warnings = warned.map(|outcome| {
            let lines = outcome.warnings.iter().map(|warning| format!("\n  {}", clean(warning)));
            format!("\n{}{}", style.bold(&outcome.session_id.to_string()), lines.collect::<String>())
        });
        let expired = self.expired_keys.iter().map(|key| format!("\nexpired key of {}: {}", key.session_id, clean(&key.client_request_id)));
        let malformed =
            self.malformed.iter().map(|one| format!("\n{} {}: {}", style.red("malformed"), clean(&one.entry), clean(&one.cause)));
        let unkept = self.results.iter().filter(|outcome| outcome.state == Some(SessionState::PersistFailed)).map(|outcome| {
            let id = outcome.session_id;
            format!("\n{} {id}: try again with alpine down {id} --retry-persist", style.red("record not stored"))
        });
        let lines: String = warnings.chain(unkept).chain(expired).chain(malformed).collect();
        format!("{}{lines}", fields(&rows, style))
    }
}

#[cfg(test)]
mod tests {
    use alpine_api::ErrorCode;

    use super::*;
    use crate::testing::{json_of, people_of, session_id};

    fn summary(dry_run: bool) -> Summary {
        let outcome = |n, outcome, state, warnings: &[&str]| Outcome {
            original_id: format!("session-{n}"),
            session_id: session_id(n),
            outcome,
            state: Some(state),
            client_request_ids: vec![format!("request-{n}")],
            warnings: warnings.iter().map(|text| (*text).to_owned()).collect(),
        };
        let fresh = if dry_run { ImportOutcome::WouldImport } else { ImportOutcome::Imported };
        Summary {
            dry_run,
            sessions: 4,
            imported: usize::from(!dry_run),
            already_imported: 1,
            would_import: usize::from(dry_run),
            malformed: vec![Malformed { entry: "sessions[2]".to_owned(), cause: "state is no session state".to_owned() }],
            expired_keys: vec![Key { session_id: session_id(1), client_request_id: "request-0".to_owned() }],
            results: vec![
                outcome(1, fresh, SessionState::Failed, &["the session was ready: ended, nothing of it runs here"]),
                outcome(2, ImportOutcome::AlreadyImported, SessionState::Stopped, &[]),
            ],
            unknown_fields: 3,
        }
    }

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        insta::assert_snapshot!("import_json", json_of(&summary(false)));
        insta::assert_snapshot!("import_people", people_of(&summary(false)));
        insta::assert_snapshot!("import_people_dry_run", people_of(&summary(true)));
    }

    #[test]
    fn a_record_that_is_not_stored_is_listed_with_what_to_do() {
        let mut summary = summary(false);
        summary.results[1].state = Some(SessionState::PersistFailed);
        let (id, told) = (session_id(2), people_of(&summary));
        assert!(told.contains(&format!("\nrecord not stored {id}: try again with alpine down {id} --retry-persist\n")), "{told}");
    }

    #[test]
    fn an_interrupt_says_how_to_go_on() {
        let report = CliError::ImportInterrupted.report();
        assert_eq!((report.error_code.to_string().as_str(), report.exit_code), ("ERR_INTERRUPTED", 1));
        assert_eq!(report.next_step, "import the file again: it goes on where it was");
    }

    #[test]
    fn what_is_malformed_is_an_error_with_all_that_was_done() {
        let report = CliError::Import(Box::new(summary(false))).report();
        assert_eq!((report.exit_code, report.error_code.to_string().as_str()), (1, ErrorCode::InvalidRequest.as_str()));
        assert_eq!(report.cause, "1 of the ledger's entries cannot be imported");
    }
}

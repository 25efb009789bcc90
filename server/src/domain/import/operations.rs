//! Whose transitions a history's are: one `up` that began it, the `down`s, and what cleaned up.

use std::collections::BTreeMap;

use alpine_api::{
    ErrorCode, Failure, ImportedFailure, ImportedOperation, OperationKind, OperationStatus,
    SessionState::{self, *},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, de::IntoDeserializer};

use super::{
    history::{History, NOT_RUN_HERE},
    micros,
    texts::Texts,
};
use crate::domain::{failure, operation::Phase, principal::SYSTEM_ACTOR};

/// An operation to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its id in the other ledger; one that was not there is made.
    pub given: Option<String>,
    pub kind: OperationKind,
    pub status: OperationStatus,
    pub phase: Phase,
    pub actor: String,
    pub created_at: DateTime<Utc>,
    /// When its last transition was.
    pub finished_at: Option<DateTime<Utc>>,
    pub error: Option<Failure>,
}

/// The operations, and for each step of the history which of them it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assigned {
    pub operations: Vec<Planned>,
    pub of_step: Vec<usize>,
}

/// What the operations of a session are made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    pub operations: &'a [ImportedOperation],
    pub owner: &'a str,
    pub last_error: Option<&'a Failure>,
}

const fn is_of_down(state: SessionState) -> bool {
    matches!(state, Stopping | CloseFailed | Persisting | PersistFailed | StoppedUnpersisted | Stopped)
}

const fn is_of_end(state: SessionState) -> bool {
    matches!(state, Failing | Failed | CleanupFailed)
}

#[derive(Debug)]
struct Draft<'a> {
    given: Option<&'a ImportedOperation>,
    kind: OperationKind,
}

/// Gives each step its operation.
struct Drafts<'a> {
    all: Vec<Draft<'a>>,
    by_id: BTreeMap<&'a str, usize>,
    /// The `down`s that have no step yet, oldest first, from the last.
    unused: Vec<usize>,
    down: Option<usize>,
    cleanup: Option<usize>,
}

impl<'a> Drafts<'a> {
    fn of(given: &[&'a ImportedOperation]) -> Self {
        let up = given.iter().copied().find(|operation| operation.kind == OperationKind::Up);
        let mut all = vec![Draft { given: up, kind: OperationKind::Up }];
        let others = given.iter().filter(|operation| operation.kind != OperationKind::Up);
        all.extend(others.map(|operation| Draft { given: Some(operation), kind: operation.kind }));
        let by_id = all.iter().enumerate().filter_map(|(at, draft)| Some((draft.given?.operation_id.as_str(), at))).collect();
        let unused = (0..all.len()).rev().filter(|at| all[*at].kind == OperationKind::Down).collect();
        Self { all, by_id, unused, down: None, cleanup: None }
    }

    fn named(&self, id: Option<&str>, kind: OperationKind) -> Option<usize> {
        self.by_id.get(id?).copied().filter(|at| self.all[*at].kind == kind)
    }

    fn made(&mut self, kind: OperationKind) -> usize {
        self.all.push(Draft { given: None, kind });
        self.all.len() - 1
    }

    fn for_down(&mut self, id: Option<&str>) -> usize {
        let found = self.named(id, OperationKind::Down).or(self.down).or_else(|| self.unused.pop());
        let at = found.unwrap_or_else(|| self.made(OperationKind::Down));
        self.unused.retain(|other| *other != at);
        self.down = Some(at);
        at
    }

    /// A session that fails is cleaned up by its `up`, by the `down` that cancelled it, or after it was ready by
    /// what is begun for that.
    fn for_end(&mut self, id: Option<&str>, was_ready: bool) -> usize {
        if let Some(at) = self.named(id, OperationKind::Down).or_else(|| self.named(id, OperationKind::Cleanup)) {
            return at;
        }
        if !was_ready {
            return 0;
        }
        let at = self.cleanup.unwrap_or_else(|| self.made(OperationKind::Cleanup));
        self.cleanup = Some(at);
        at
    }
}

pub(super) fn assign(given: &Given<'_>, history: &History, texts: &mut Texts, warnings: &mut Vec<String>) -> Assigned {
    let ordered: Vec<_> = given.operations.iter().collect();
    let mut drafts = Drafts::of(&ordered);
    let mut was_ready = false;
    let mut of_step = Vec::with_capacity(history.steps.len());
    for step in &history.steps {
        was_ready |= step.to == Ready;
        let id = step.given.as_deref();
        of_step.push(match step.to {
            state if is_of_down(state) => drafts.for_down(id),
            state if is_of_end(state) => drafts.for_end(id, was_ready),
            _ => 0,
        });
    }
    // The `down` that ends with the record is that of the last transition, which is not among the steps.
    if history.persists {
        let last = drafts.for_down(history.stopped.as_ref().and_then(|step| step.given.as_deref()));
        if let Some(of_last) = of_step.last_mut() {
            *of_last = last;
        }
    }
    keep_used(given, history, drafts, &of_step, texts, warnings)
}

/// Those with transitions, in the order of their first.
fn keep_used(
    given: &Given<'_>,
    history: &History,
    drafts: Drafts<'_>,
    of_step: &[usize],
    texts: &mut Texts,
    warnings: &mut Vec<String>,
) -> Assigned {
    let mut places = BTreeMap::new();
    let mut operations = Vec::new();
    for at in of_step {
        if !places.contains_key(at) {
            places.insert(*at, operations.len());
            let draft = &drafts.all[*at];
            if draft.given.is_none() {
                warnings.push(format!("no {} for some of the transitions: filled in", draft.kind.as_str()));
            }
            operations.push(planned(given, history, draft, *at, of_step, texts));
        }
    }
    for (index, operation) in given.operations.iter().enumerate() {
        let used = operations.iter().any(|planned| planned.given.as_ref() == Some(&operation.operation_id));
        if !used {
            let kind = operation.kind.as_str();
            warnings.push(format!("operations[{index}]: this {kind} has no transition of its own; kept in the stored original only"));
        }
    }
    Assigned { operations, of_step: of_step.iter().map(|at| places[at]).collect() }
}

fn planned(given: &Given<'_>, history: &History, draft: &Draft<'_>, at: usize, of_step: &[usize], texts: &mut Texts) -> Planned {
    let own = || history.steps.iter().zip(of_step).filter(|(_, of)| **of == at).map(|(step, _)| step);
    let (first, last) = (own().next(), own().next_back());
    let last_state = last.map_or(Requested, |step| step.to);
    let live = history.persists && of_step.last() == Some(&at);
    let own_error = draft.given.and_then(|operation| operation.error.as_ref()).map(|error| failure_of(error, texts));
    let known = || own_error.clone().or_else(|| given.last_error.cloned());
    let (status, error) = match draft.kind {
        _ if live => (OperationStatus::Queued, None),
        OperationKind::Up if own().any(|step| step.to == Ready) => (OperationStatus::Succeeded, None),
        OperationKind::Up if is_of_end(last_state) => {
            let ended_here = last.is_some_and(|step| step.filled_in && step.reason == NOT_RUN_HERE);
            (OperationStatus::Failed, Some(if ended_here { not_run_here() } else { known().unwrap_or_else(unknown) }))
        }
        // A `down` came before it was done.
        OperationKind::Up => match own_error {
            Some(error) => (OperationStatus::Failed, Some(error)),
            None => (OperationStatus::Cancelled, Some(failure::cancelled())),
        },
        OperationKind::Down if matches!(last_state, PersistFailed | StoppedUnpersisted | CloseFailed | Stopping | Persisting) => {
            (OperationStatus::Failed, Some(known().unwrap_or_else(no_record)))
        }
        OperationKind::Down | OperationKind::Cleanup => (OperationStatus::Succeeded, None),
    };
    let phase = match (draft.kind, last_state) {
        (_, Failing | Failed | CleanupFailed) => Phase::Cleanup,
        (OperationKind::Down, Stopping | CloseFailed) => Phase::Stop,
        (OperationKind::Down, _) => Phase::Persist,
        (_, Ready | Installing) => Phase::Start,
        (_, RepoSyncing) => Phase::Sync,
        _ => Phase::Resolve,
    };
    let begun = first.map_or(DateTime::UNIX_EPOCH, |step| step.at);
    let created = draft.given.and_then(|operation| operation.created_at).map(micros);
    let actor = draft.given.and_then(|operation| operation.actor.as_deref()).map(|actor| texts.take(actor));
    let actor =
        actor.unwrap_or_else(|| if draft.kind == OperationKind::Cleanup { SYSTEM_ACTOR.to_owned() } else { given.owner.to_owned() });
    Planned {
        given: draft.given.map(|operation| operation.operation_id.clone()),
        kind: draft.kind,
        status,
        phase,
        actor,
        created_at: if draft.kind == OperationKind::Up { begun } else { created.unwrap_or(begun).min(begun) },
        finished_at: last.filter(|_| !live).map(|step| step.at),
        error,
    }
}

/// A failure in the catalogue's words as far as it knows them.
pub(super) fn failure_of(error: &ImportedFailure, texts: &mut Texts) -> Failure {
    let known = error.error_code.as_deref().and_then(|code| {
        let reader: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = code.into_deserializer();
        ErrorCode::deserialize(reader).ok()
    });
    let error_code = known.unwrap_or(ErrorCode::Internal);
    let next_step = error.next_step.as_deref().map(|text| texts.take(text)).filter(|text| !text.trim().is_empty());
    Failure {
        error_code,
        cause: texts.take(&error.cause),
        next_step: next_step.unwrap_or_else(|| "run alpine up again with a NEW client-request-id".to_owned()),
        retryable: error_code.retryable(),
    }
}

/// What a session ends with that cannot go on here.
pub(super) fn not_run_here() -> Failure {
    Failure {
        error_code: ErrorCode::SandboxProvisionFailed,
        cause: NOT_RUN_HERE.to_owned(),
        next_step: "run alpine up again with a NEW client-request-id".to_owned(),
        retryable: true,
    }
}

pub(super) fn no_record() -> Failure {
    failure::not_persisted(ErrorCode::PersistenceVerificationFailed, "persist", "the predecessor's ledger has no record of this session")
}

fn unknown() -> Failure {
    failure::step("predecessor", "it failed, and its ledger does not say why")
}

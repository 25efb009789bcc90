//! A history as it stands in another ledger, made one that the transition table allows: what is missing is filled in by
//! the control plane, and says so; what cannot follow is left out, and said.

use std::collections::VecDeque;

use alpine_api::{
    ImportedTransition,
    SessionState::{self, *},
};
use chrono::{DateTime, Utc};

use super::{micros, texts::Texts};
use crate::domain::{lifecycle::successors, principal::SYSTEM_ACTOR};

/// What is said of a session that cannot go on here.
pub(super) const NOT_RUN_HERE: &str = "imported from the predecessor; its sandbox is not run by this control plane";
const FILLED_IN: &str = "import: not in the predecessor's history";
const NO_RECORD: &str = "import: the predecessor's ledger has no record of this session";
const CARRIED_ON: &str = "import: the predecessor's down was interrupted and is carried on";

/// A transition to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub to: SessionState,
    pub at: DateTime<Utc>,
    pub actor: String,
    pub reason: String,
    /// The operation that the other ledger names.
    pub given: Option<String>,
    /// Not in the other ledger.
    pub filled_in: bool,
}

/// A history that ends where the session rests, or where its `down` is carried on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct History {
    pub steps: Vec<Step>,
    /// The record is yet to be verified: by the operation with the given id, if it is named.
    pub persists: bool,
    /// The transition to `stopped`, which is made again when the record is verified.
    pub stopped: Option<Step>,
    pub warnings: Vec<String>,
}

/// What the session's own row says of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    pub state: SessionState,
    pub has_record: bool,
    pub owner: &'a str,
    pub transitions: &'a [ImportedTransition],
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub now: DateTime<Utc>,
}

/// The shortest way that the table allows, without where it begins.
fn route(from: Option<SessionState>, to: SessionState) -> Option<Vec<SessionState>> {
    if from == Some(to) {
        return Some(Vec::new());
    }
    let mut ways = VecDeque::from([from.map_or_else(|| vec![Requested], |from| vec![from])]);
    let mut seen = Vec::new();
    while let Some(way) = ways.pop_front() {
        let last = *way.last()?;
        if last == to {
            return Some(way[usize::from(from.is_some())..].to_vec());
        }
        for next in successors(last).iter().filter(|next| !seen.contains(*next)) {
            ways.push_back([&way[..], &[*next]].concat());
        }
        seen.extend(successors(last));
    }
    None
}

impl History {
    pub(super) fn of(given: &Given<'_>, texts: &mut Texts) -> Self {
        let mut history = Self { steps: Vec::new(), persists: false, stopped: None, warnings: Vec::new() };
        for (index, transition) in given.transitions.iter().enumerate() {
            history.follow(index, transition, given, texts);
        }
        history.end(given);
        history
    }

    fn state(&self) -> Option<SessionState> {
        self.steps.last().map(|step| step.to)
    }

    fn follow(&mut self, index: usize, transition: &ImportedTransition, given: &Given<'_>, texts: &mut Texts) {
        let (to, at) = (transition.to_state, micros(transition.at));
        let way = route(self.state(), to).filter(|way| !way.is_empty());
        let Some((_, between)) = way.as_deref().and_then(<[_]>::split_last) else {
            let from = self.state().map_or("the beginning", SessionState::as_str);
            self.warnings.push(format!("transitions[{index}]: {to} cannot follow {from}; kept in the stored original only"));
            return;
        };
        self.fill_in(between, at, FILLED_IN);
        self.steps.push(Step {
            to,
            at,
            actor: transition.actor.as_deref().map_or_else(|| given.owner.to_owned(), |actor| texts.take(actor)),
            reason: texts.take(transition.reason.as_deref().unwrap_or("")),
            given: transition.operation_id.clone(),
            filled_in: false,
        });
    }

    fn fill_in(&mut self, way: &[SessionState], at: DateTime<Utc>, reason: &str) {
        if !way.is_empty() && reason == FILLED_IN {
            let names = way.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ");
            self.warnings.push(format!("the history lacks {names}: filled in"));
        }
        self.steps.extend(way.iter().map(|to| Step {
            to: *to,
            at,
            actor: SYSTEM_ACTOR.to_owned(),
            reason: reason.to_owned(),
            given: None,
            filled_in: true,
        }));
    }

    /// Go on to a state that the session's row names; what stands in the way is left out.
    fn reach(&mut self, to: SessionState, at: DateTime<Utc>) {
        loop {
            if let Some(way) = route(self.state(), to) {
                self.fill_in(&way, at, FILLED_IN);
                return;
            }
            if let Some(step) = self.steps.pop() {
                self.warnings
                    .push(format!("the history ends in {}, the session is {to}: that end is kept in the stored original only", step.to));
            }
        }
    }

    fn end(&mut self, given: &Given<'_>) {
        match given.state {
            Stopped => {
                self.reach(Stopped, given.updated_at);
                self.stopped = self.steps.pop();
                if given.has_record {
                    self.persists = true;
                } else {
                    let at = self.stopped.take().map_or(given.updated_at, |stopped| stopped.at);
                    self.warnings.push("the session is stopped and has no record: alpine down --retry-persist makes one".to_owned());
                    self.fill_in(&[StoppedUnpersisted], at, NO_RECORD);
                }
            }
            Failed | StoppedUnpersisted | PersistFailed => self.reach(given.state, given.updated_at),
            Stopping | CloseFailed | Persisting => {
                self.reach(given.state, given.updated_at);
                let way = route(self.state(), Persisting).unwrap_or_default();
                self.fill_in(&way, given.now, CARRIED_ON);
                self.persists = true;
            }
            Requested | Provisioning | RepoSyncing | Installing | Ready | Failing | CleanupFailed => {
                self.reach(given.state, given.updated_at);
                let way = route(self.state(), Failed).unwrap_or_default();
                self.fill_in(&way, given.now, NOT_RUN_HERE);
                self.warnings.push(format!("the session was {}: ended, nothing of it runs here", given.state));
            }
        }
    }

    /// The times that the session's row names are those of its transitions, no time runs backwards, and none is after the
    /// record's, or after `now`. How many were changed for that.
    pub(super) fn settle_times(&mut self, given: &Given<'_>, named: Named) -> usize {
        let before: Vec<_> = self.steps.iter().map(|step| step.at).collect();
        let first_stop = self.steps.iter().position(|step| matches!(step.to, Persisting | StoppedUnpersisted));
        let last_ready = self.steps.iter().rposition(|step| step.to == Ready);
        let marks = [(Some(0), Some(given.created_at)), (last_ready, named.ready_at), (first_stop, named.stopped_at)];
        for (index, at) in marks {
            if let (Some(step), Some(at)) = (index.and_then(|index| self.steps.get_mut(index)), at) {
                step.at = at;
            }
        }
        let latest = named.persisted_at.map_or(given.now, |persisted| persisted.min(given.now));
        let mut earliest = DateTime::<Utc>::UNIX_EPOCH;
        for step in &mut self.steps {
            step.at = step.at.max(earliest).min(latest);
            earliest = step.at;
        }
        before.iter().zip(&self.steps).filter(|(before, step)| **before != step.at).count()
    }
}

/// Times of the session's row and of its record.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Named {
    pub ready_at: Option<DateTime<Utc>>,
    pub stopped_at: Option<DateTime<Utc>>,
    /// The record's.
    pub persisted_at: Option<DateTime<Utc>>,
}

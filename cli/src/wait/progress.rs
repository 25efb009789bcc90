//! How far an operation is, from its events: which steps are done, what goes on now, where the time went.

use std::time::{Duration, Instant};

use alpine_api::{EventKind, SessionState};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    ui::{clean, elapsed},
    wire::{Event, Word},
};

/// Something that takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub doing: &'static str,
    /// In the summary.
    pub short: &'static str,
}

/// A step that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub step: Step,
    pub took: TimeDelta,
    /// What followed was not the next step.
    pub failed: bool,
}

#[derive(Debug)]
pub struct Progress {
    begun: DateTime<Utc>,
    begun_here: Instant,
    step: Step,
    since: DateTime<Utc>,
    since_here: Instant,
    done: Vec<Done>,
    detail: Option<String>,
    /// When something was heard of it last.
    news: Instant,
    rests: Option<(&'static str, DateTime<Utc>)>,
}

const fn step(doing: &'static str, short: &'static str) -> Step {
    Step { doing, short }
}

/// The state and its events do not tell the two apart while they go on.
const FIRST_STEPS: Step = step("finding the commit, making sandbox", "sandbox");
const SANDBOX: Step = step("making the sandbox", "sandbox");
const COMMIT: Step = step("finding the branch's commit", "commit");

/// Which of the first steps it was that is over: a failure begins with the name of its phase.
fn told_apart(step: Step, failed: bool, reason: &str) -> Step {
    match step {
        FIRST_STEPS if failed && reason.starts_with("resolve:") => COMMIT,
        FIRST_STEPS => SANDBOX,
        step => step,
    }
}

/// What is done in a state and a phase; none where it rests.
fn step_of(state: &Word<SessionState>, phase: Option<&str>) -> Result<Step, &'static str> {
    use SessionState as S;
    let Some(state) = state.known() else { return Ok(step("working", "other")) };
    Ok(match (state, phase) {
        (S::Requested, _) => step("waiting for a worker", "queue"),
        (S::Provisioning, _) => FIRST_STEPS,
        (S::RepoSyncing, _) => step("cloning the repository", "clone"),
        (S::Installing, Some("start")) => step("starting the workspace", "start"),
        (S::Installing, _) => step("installing dependencies", "install"),
        (S::Failing, _) => step("cleaning up", "clean-up"),
        (S::Stopping, _) => step("stopping", "stop"),
        (S::Persisting, Some("destroy")) => step("removing the sandbox", "removal"),
        (S::Persisting, _) => step("storing and verifying the record", "record"),
        (S::Ready, _) => return Err("ready"),
        (S::Failed, _) => return Err("failed"),
        (S::CleanupFailed, _) => return Err("could not clean up yet"),
        (S::CloseFailed, _) => return Err("did not stop"),
        (S::PersistFailed | S::StoppedUnpersisted, _) => return Err("the record is not stored"),
        (S::Stopped, _) => return Err("stopped"),
    })
}

/// What a transition begins, for people.
pub fn words(event: &Event) -> String {
    match step_of(&event.to_state, event.phase.as_deref()) {
        _ if event.to_state.known().is_none() => clean(&event.to_state.to_string()),
        Ok(_) if event.to_state == Word::Known(SessionState::Failing) => format!("failed: {}; cleaning up", clean(&event.reason)),
        Ok(step) => step.doing.to_owned(),
        Err(rests) => rests.to_owned(),
    }
}

impl Progress {
    pub fn new(begun: DateTime<Utc>, now: Instant) -> Self {
        Self {
            begun,
            begun_here: now,
            step: step("waiting for a worker", "queue"),
            since: begun,
            since_here: now,
            done: Vec::new(),
            detail: None,
            news: now,
            rests: None,
        }
    }

    /// What the event says is over.
    pub fn take(&mut self, event: &Event, now: Instant) -> Option<Done> {
        self.news = now;
        let progress = event.kind == Word::Known(EventKind::Progress);
        if progress {
            let percent = event.percent.map(|percent| format!(" ({percent}%)")).unwrap_or_default();
            self.detail = Some(format!("{}{percent}", clean(&event.reason))).filter(|detail| !detail.is_empty());
        }
        let next = step_of(&event.to_state, event.phase.as_deref());
        if next == Ok(self.step) || progress && next.is_err() {
            return None;
        }
        let cleaned_up = self.step.short == "clean-up" && next == Err("failed");
        let failed = matches!(event.to_state.known(), Some(SessionState::Failing)) || matches!(next, Err(rests) if !ends_well(rests));
        let failed = failed && !cleaned_up;
        let done = Done { step: told_apart(self.step, failed, &event.reason), took: event.at - self.since, failed };
        match next {
            Ok(step) => (self.step, self.since, self.since_here) = (step, event.at, now),
            Err(rests) => self.rests = Some((rests, event.at)),
        }
        if !progress {
            self.detail = None;
        }
        self.done.push(done.clone());
        Some(done)
    }

    pub fn rests(&self) -> bool {
        self.rests.is_some()
    }

    /// What goes on, and for how long.
    pub fn doing(&self, now: Instant) -> (Step, Duration) {
        (self.step, now.duration_since(self.since_here))
    }

    /// What git or the installer said last.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// For how long nothing was heard.
    pub fn silence(&self, now: Instant) -> Duration {
        now.duration_since(self.news)
    }

    /// How long it has been going on.
    pub fn running(&self, now: Instant) -> Duration {
        now.duration_since(self.begun_here)
    }

    /// How long after the beginning this was, by the server's clock.
    pub fn at(&self, event: &Event) -> TimeDelta {
        event.at - self.begun
    }

    /// Where the time went.
    pub fn summary(&self) -> Option<String> {
        let (rests, end) = self.rests?;
        let mut parts: Vec<(&str, TimeDelta)> = Vec::new();
        for Done { step, took, .. } in &self.done {
            match parts.iter_mut().find(|(short, _)| *short == step.short) {
                Some((_, total)) => *total += *took,
                None => parts.push((step.short, *took)),
            }
        }
        let parts: Vec<String> = parts.iter().map(|(short, took)| format!("{short} {}", elapsed(*took))).collect();
        let link = if ends_well(rests) { "in" } else { "after" };
        Some(format!("{rests} {link} {}: {}", elapsed(end - self.begun), parts.join(", ")))
    }
}

fn ends_well(rests: &str) -> bool {
    matches!(rests, "ready" | "stopped")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, event, progress_event};

    fn up() -> Progress {
        Progress::new(at("2026-11-22T10:00:00Z"), Instant::now())
    }

    #[test]
    fn the_time_of_a_step_is_the_servers_and_the_summary_says_where_all_of_it_went() {
        use SessionState as S;
        let mut progress = up();
        let events = [
            event(1, S::Requested, "10:00:00Z", "up accepted"),
            event(2, S::Provisioning, "10:00:00.5Z", "claimed"),
            event(3, S::RepoSyncing, "10:00:02Z", "made"),
            progress_event(4, S::RepoSyncing, "sync", "10:00:03Z", "Receiving objects", Some(45)),
            event(5, S::Installing, "10:00:05Z", "cloned"),
            progress_event(6, S::Installing, "install", "10:00:07Z", "added 120 packages", None),
            progress_event(7, S::Installing, "start", "10:00:15Z", "starting", None),
            event(8, S::Ready, "10:00:17.25Z", "ready"),
        ];
        let said: Vec<String> = events
            .iter()
            .map(|event| {
                let done = progress.take(event, Instant::now());
                let done = done.map(|done| format!("{} {}{}", done.step.doing, elapsed(done.took), if done.failed { "!" } else { "" }));
                format!("{done:?} {:?}", progress.detail())
            })
            .collect();
        insta::assert_debug_snapshot!("steps_of_an_up", said);
        assert_eq!(
            progress.summary().as_deref(),
            Some("ready in 17.2 s: queue 0.5 s, sandbox 1.5 s, clone 3.0 s, install 10.0 s, start 2.2 s")
        );
    }

    #[test]
    fn a_step_that_was_not_followed_by_the_next_one_has_failed() {
        use SessionState as S;
        let mut progress = up();
        progress.take(&event(2, S::Provisioning, "10:00:01Z", "claimed"), Instant::now());
        let done = progress.take(&event(3, S::Failing, "10:00:03Z", "branch not found"), Instant::now()).unwrap();
        assert_eq!((done.step.short, done.failed), ("sandbox", true));
        assert!(!progress.rests() && progress.summary().is_none());
        let done = progress.take(&event(4, S::Failed, "10:00:04Z", "cleaned up"), Instant::now()).unwrap();
        assert_eq!((done.step.short, done.failed), ("clean-up", false));
        assert_eq!(progress.summary().as_deref(), Some("failed after 4.0 s: queue 1.0 s, sandbox 2.0 s, clean-up 1.0 s"));
    }

    #[test]
    fn a_branch_that_is_not_found_is_not_a_sandbox_that_was_not_made() {
        use SessionState as S;
        let mut progress = up();
        progress.take(&event(2, S::Provisioning, "10:00:01Z", "claimed"), Instant::now());
        assert_eq!(progress.doing(Instant::now()).0, FIRST_STEPS);
        let done = progress.take(&event(3, S::Failing, "10:00:03Z", "resolve: branch b does not exist"), Instant::now()).unwrap();
        assert_eq!((done.step.doing, done.failed), ("finding the branch's commit", true));
        progress.take(&event(4, S::Failed, "10:00:04Z", "cleaned up"), Instant::now());
        assert_eq!(progress.summary().as_deref(), Some("failed after 4.0 s: queue 1.0 s, commit 2.0 s, clean-up 1.0 s"));
    }

    #[test]
    fn every_state_has_its_words() {
        let words: Vec<String> = SessionState::ALL.iter().map(|state| words(&event(1, *state, "10:00:00Z", "why"))).collect();
        insta::assert_debug_snapshot!("every_state_has_its_words", words);
    }
}

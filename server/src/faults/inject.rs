//! The rules, applied.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Signal, getpid, kill_process},
};

use super::{
    provider::FaultyProvider,
    rule::{Act, Place, Point, Rule, When},
};
use crate::{domain::operation::Phase, lifecycle::PhaseError, metrics::Metrics, sandbox::Provider};

/// The signal may take another thread first: until it has stopped them all, this one must not go on.
const SETTLE: Duration = Duration::from_secs(1);

/// One object a process, handed round.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rules: Vec<Rule>,
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct State {
    rng: fastrand::Rng,
    /// How often each rule may still apply.
    left: Vec<Option<u32>>,
}

/// An error on purpose.
#[derive(Debug, thiserror::Error)]
#[error("injected at {point}")]
pub struct Injected {
    point: Point,
    pub source: io::Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    On,
    Again,
}

impl Faults {
    #[must_use]
    pub fn new(rules: Vec<Rule>, seed: u64, metrics: Arc<Metrics>) -> Self {
        let state = State { rng: fastrand::Rng::with_seed(seed), left: rules.iter().map(|rule| rule.count).collect() };
        Self(Arc::new(Shared { rules, state: Mutex::new(state), metrics }))
    }

    #[must_use]
    pub fn around_calls(self, provider: Arc<dyn Provider>) -> Arc<dyn Provider> {
        Arc::new(FaultyProvider::new(provider, self))
    }

    pub async fn around<T, F>(&self, phase: Phase, run: impl Fn() -> F) -> Result<T, PhaseError>
    where
        F: Future<Output = Result<T, PhaseError>>,
    {
        let at = async |when| {
            let struck = self.strike(Point { place: Place::Phase(phase), when }).await;
            struck.map_err(|error| PhaseError::transient(phase.as_str(), format!("{error}: {}", error.source)))
        };
        if at(When::Before).await? == Go::Again {
            run().await?;
        }
        let done = run().await?;
        match at(When::After).await? {
            Go::On => Ok(done),
            Go::Again => run().await,
        }
    }

    pub async fn committed(&self, phase: Phase) {
        // No act that may happen here has anything to tell.
        let _ = self.strike(Point { place: Place::Phase(phase), when: When::Committed }).await;
    }

    pub(super) async fn strike(&self, point: Point) -> Result<Go, Injected> {
        let Some(act) = self.draw(point) else { return Ok(Go::On) };
        tracing::warn!(%point, act = act.as_str(), "injected fault");
        self.0.metrics.injected_fault(point.to_string(), act.as_str());
        match act {
            Act::Kill => {
                signal_itself(Signal::KILL);
                std::future::pending().await
            }
            Act::Abort => {
                signal_itself(Signal::ABORT);
                std::future::pending().await
            }
            Act::Panic => panic!("injected at {point}"),
            Act::Freeze => {
                signal_itself(Signal::STOP);
                tokio::time::sleep(SETTLE).await;
                Ok(Go::On)
            }
            Act::Error => Err(Injected { point, source: io::Error::other("it is said to have failed") }),
            Act::Full => Err(Injected { point, source: Errno::NOSPC.into() }),
            Act::Hang => std::future::pending().await,
            Act::Again => Ok(Go::Again),
        }
    }

    /// The first rule of this point that applies now.
    fn draw(&self, point: Point) -> Option<Act> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { rng, left } = &mut *state;
        for (rule, left) in self.0.rules.iter().zip(left).filter(|(rule, _)| rule.point == point) {
            if *left == Some(0) || rng.f64() >= rule.probability {
                continue;
            }
            *left = left.map(|left| left - 1);
            return Some(rule.act);
        }
        None
    }
}

fn signal_itself(signal: Signal) {
    if let Err(error) = kill_process(getpid(), signal) {
        tracing::error!(%error, ?signal, "the fault could not be injected");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn faults(rules: &[&str], seed: u64) -> Faults {
        Faults::new(rules.iter().map(|rule| rule.parse().unwrap()).collect(), seed, Arc::new(Metrics::new()))
    }

    async fn sync(faults: &Faults) -> (usize, Result<(), PhaseError>) {
        let ran = Cell::new(0);
        let outcome = faults
            .around(Phase::Sync, || async {
                ran.set(ran.get() + 1);
                Ok(())
            })
            .await;
        (ran.get(), outcome)
    }

    #[tokio::test]
    async fn errors_come_before_and_after_a_phase_as_often_as_asked_and_are_transient() {
        let faults = faults(&["sync.before=error#1", "sync.after=full#1", "install.before=error"], 1);
        let (ran, outcome) = sync(&faults).await;
        assert!(ran == 0 && outcome.is_err_and(|error| error.is_transient()));
        let (ran, outcome) = sync(&faults).await;
        let error = outcome.unwrap_err();
        assert!(ran == 1 && error.is_transient() && error.to_string().contains("No space left on device"), "{error}");
        let (ran, outcome) = sync(&faults).await;
        assert!(ran == 1 && outcome.is_ok());
        let counted = faults.0.metrics.encode();
        assert!(counted.contains("alpine_injected_faults_total{point=\"sync.after\",act=\"full\"} 1"), "{counted}");
    }

    #[tokio::test]
    async fn again_runs_a_phase_twice() {
        assert_eq!(sync(&faults(&["sync.after=again#1"], 1)).await.0, 2);
        assert_eq!(sync(&faults(&["sync.before=again"], 1)).await.0, 2);
    }

    #[tokio::test]
    async fn a_hang_lasts_until_somebody_else_ends_it() {
        let faults = faults(&["sync.before=hang"], 1);
        assert!(tokio::time::timeout(Duration::from_millis(50), sync(&faults)).await.is_err());
    }

    #[test]
    fn a_seed_decides_and_a_probability_is_kept() {
        let point = Point { place: Place::Call("exec"), when: When::Before };
        let draws = |seed| {
            let faults = faults(&["exec.before=error@0.1"], seed);
            (0..1000).map(|_| faults.draw(point).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
        let hits = draws(7).into_iter().filter(|hit| *hit).count();
        assert!((50..200).contains(&hits), "{hits} of 1000");
    }
}

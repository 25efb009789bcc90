//! Lease, fence, cancel and adoption, checked for every order of events: what no test of real servers can try.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests")]

mod guards;
mod protocol;

use guards::Guards;
use protocol::{Action, Faults, Session, State, Step, Worker};
use stateright::{Checker, HasDiscoveries, Model, Property};

const NO_STALE_WRITE: &str = "no write is taken from a non-holder";
const NO_STALE_DESTROY: &str = "no destroy is asked for by a non-holder";
const FENCES_GROW: &str = "fences of events only grow";
const RECORD_FIRST: &str = "a record is verified before the destroy";
const NO_LATE_CREATE: &str = "nothing is created once the session is final";
const HANDS_OFF: &str = "what is final or ready is worked on by nobody";
const WORKED_ON: &str = "what is neither is worked on";

#[derive(Debug, Clone)]
struct Protocol {
    guards: Guards,
    faults: Faults,
}

/// All at once they are too many orders for a test; two zombies, and one with everything else.
const TWO_ZOMBIES: Faults = Faults { expiries: 2, failures: 1, losses: 0 };
const FEW: Faults = Faults { expiries: 1, failures: 1, losses: 1 };

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::accepted(self.faults)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // The workers are alike: whichever is first is A.
        actions.extend([Worker::A, Worker::B].into_iter().take(1 + usize::from(state.lease.term > 0)).map(Action::Claim));
        actions.extend([Action::Expire, Action::Down, Action::Lose, Action::Reconcile]);
        actions.extend(state.calls.iter().copied().map(Action::Arrive));
        for job in state.jobs.iter().copied() {
            actions.extend([Action::GiveUp(job), Action::Ask(job), Action::Commit(job), Action::Fail(job)]);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        self.apply(&mut next, action).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always(NO_STALE_WRITE, |_, state| !state.broken.stale_write),
            Property::<Self>::always(NO_STALE_DESTROY, |_, state| !state.broken.stale_destroy),
            Property::<Self>::always(FENCES_GROW, |_, state| !state.broken.fence_fell),
            Property::<Self>::always("a final state is never left", |_, state| !state.broken.final_left),
            Property::<Self>::always("the events end in the state", |_, state| state.event.0 == state.session),
            Property::<Self>::always(RECORD_FIRST, |_, state| !state.broken.unverified_destroy),
            Property::<Self>::always("stopped has a record", |_, state| state.session != Session::Stopped || state.record),
            Property::<Self>::always(NO_LATE_CREATE, |_, state| !state.broken.created_when_final),
            Property::<Self>::always("final means that there is no sandbox", |_, state| {
                !state.session.is_final() || !state.provider.sandbox
            }),
            Property::<Self>::always(HANDS_OFF, |_, state| {
                !(state.session.is_final() || state.session == Session::Ready) || !state.operation.live
            }),
            Property::<Self>::always(WORKED_ON, |_, state| {
                state.session.is_final() || state.session == Session::Ready || state.operation.live
            }),
            Property::<Self>::always("a dead end is a settled session", |model, state| {
                state.is_settled() || !model.next_states(state).is_empty()
            }),
            Property::<Self>::eventually("every operation ends", |_, state| state.is_settled()),
            Property::<Self>::sometimes("ready", |_, state| state.session == Session::Ready && state.is_settled()),
            Property::<Self>::sometimes("stopped", |_, state| state.session == Session::Stopped && state.is_settled()),
            Property::<Self>::sometimes("failed", |_, state| state.session == Session::Failed && state.is_settled()),
            Property::<Self>::sometimes("a zombie beside its successor", |_, state| state.jobs.len() > 1),
            Property::<Self>::sometimes("a create that arrives when all is over", |_, state| {
                state.session.is_final() && state.calls.iter().any(|call| call.does == protocol::Does::Create)
            }),
        ]
    }
}

impl Protocol {
    /// Whether the action is possible; then it has happened.
    fn apply(&self, state: &mut State, action: Action) -> bool {
        let guards = &self.guards;
        let possible = match action {
            Action::Claim(_) => state.may_claim(),
            Action::Expire => {
                let under_a_living_worker = state.lease.owner.is_some() && !state.lease.expired && state.faults.expiries > 0;
                state.is_abandoned() || under_a_living_worker
            }
            Action::GiveUp(job) => return state.give_up(&job),
            Action::Ask(job) => job.step == Step::Begin && job.asks().is_some(),
            Action::Arrive(_) => true,
            Action::Commit(job) => job.step == Step::Done || job.step == Step::Begin && job.asks().is_none(),
            Action::Fail(job) => job.session == job.phase.state() && state.faults.failures > 0,
            Action::Down => !state.down_asked && state.down_begins().is_some(),
            Action::Lose => state.session == Session::Ready && state.provider.sandbox && state.faults.losses > 0,
            Action::Reconcile => state.session == Session::Ready && !state.provider.sandbox && !state.operation.live,
        };
        if possible {
            self.happen(guards, state, action);
        }
        possible
    }

    fn happen(&self, guards: &Guards, state: &mut State, action: Action) {
        match action {
            Action::Claim(worker) => state.claim(guards, worker),
            Action::Expire => {
                state.faults.expiries -= u8::from(!state.is_abandoned());
                state.lease.expired = true;
            }
            Action::GiveUp(_) => {}
            Action::Ask(job) => state.ask(guards, &job),
            Action::Arrive(call) => state.arrive(guards, &call),
            Action::Commit(job) => state.commit(guards, &job),
            Action::Fail(job) => state.fail(guards, &job),
            Action::Down => {
                state.down_asked = true;
                let (to, phase) = state.down_begins().unwrap();
                state.overtake(guards, to, phase);
            }
            Action::Lose => {
                state.faults.losses -= 1;
                state.provider.sandbox = false;
            }
            Action::Reconcile => state.overtake(guards, Session::Failing, protocol::Phase::Cleanup),
        }
    }
}

/// How many steps it takes without these guards to break the property; `None`: it cannot be broken.
fn steps_to_break(guards: Guards, property: &'static str) -> Option<usize> {
    let only = HasDiscoveries::AllOf([property].into());
    let checker = Protocol { guards, faults: FEW }.checker().finish_when(only).spawn_bfs().join();
    let steps = checker.discovery(property).map(|path| path.into_actions().len());
    eprintln!("{property}: broken after {steps:?} steps, {} states seen", checker.unique_state_count());
    steps
}

fn breaks(guards: Guards, property: &'static str) {
    assert!(steps_to_break(guards, property).is_some(), "{property} holds without it: {guards:?}");
}

#[test]
fn no_order_of_events_breaks_the_protocol() {
    for faults in [TWO_ZOMBIES, FEW] {
        let checker = Protocol { guards: Guards::ALL, faults }.checker().threads(2).spawn_bfs().join();
        eprintln!("{faults:?}: {} states, {} deep", checker.unique_state_count(), checker.max_depth());
        checker.assert_properties();
    }
}

#[test]
fn without_the_fence_check_a_zombie_writes_the_state() {
    breaks(Guards { state: false, ..Guards::ALL }, HANDS_OFF);
}

#[test]
fn without_the_fence_check_a_zombie_ends_the_operation() {
    breaks(Guards { completion: false, ..Guards::ALL }, WORKED_ON);
}

#[test]
fn without_the_fence_check_a_zombie_appends_events() {
    breaks(Guards { append: false, ..Guards::ALL }, FENCES_GROW);
}

#[test]
fn without_the_question_before_it_a_zombie_destroys() {
    breaks(Guards { destroy: false, ..Guards::ALL }, NO_STALE_DESTROY);
}

#[test]
fn without_the_providers_fence_a_late_create_outlives_its_session() {
    breaks(Guards { provider: false, ..Guards::ALL }, NO_LATE_CREATE);
}

#[test]
fn without_a_raise_at_the_claim_a_worker_is_its_own_zombie() {
    breaks(Guards { claim_raises: false, ..Guards::ALL }, NO_STALE_WRITE);
}

#[test]
fn without_the_expiry_a_lease_is_for_ever() {
    breaks(Guards { expiry: false, ..Guards::ALL }, NO_STALE_WRITE);
}

#[test]
fn without_the_verified_record_a_sandbox_is_destroyed_too_early() {
    breaks(Guards { record_first: false, ..Guards::ALL }, RECORD_FIRST);
}

/// Of these two each alone fences off the cancelled worker: a lease without an owner is held by nobody, and a
/// raised fence is not its own. Without both it goes on.
#[test]
fn without_a_raise_and_a_revocation_at_the_cancel_the_cancelled_goes_on() {
    breaks(Guards { cancel_raises: false, cancel_revokes: false, ..Guards::ALL }, HANDS_OFF);
    for one in [Guards { cancel_raises: false, ..Guards::ALL }, Guards { cancel_revokes: false, ..Guards::ALL }] {
        Protocol { guards: one, faults: FEW }.checker().spawn_bfs().join().assert_properties();
    }
}

//! The protocol: one session, two workers, a caller who may cancel, a reconciler, and a provider that answers late.
//!
//! Time is not modelled: a lease runs out whenever the checker likes, so a zombie is a worker whose lease did. Nor
//! is the inside of a phase: what counts is what it asks the provider for, and what it writes. How often things
//! go wrong is bounded, which makes every path finite.

use std::collections::BTreeSet;

use crate::guards::Guards;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Session {
    Requested,
    Provisioning,
    Installing,
    Ready,
    Failing,
    Failed,
    Stopping,
    Persisting,
    Stopped,
}

impl Session {
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Stopped)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    Provision,
    Install,
    Cleanup,
    Stop,
    Persist,
    Destroy,
}

impl Phase {
    pub const fn state(self) -> Session {
        match self {
            Self::Provision => Session::Provisioning,
            Self::Install => Session::Installing,
            Self::Cleanup => Session::Failing,
            Self::Stop => Session::Stopping,
            Self::Persist | Self::Destroy => Session::Persisting,
        }
    }

    /// What it needs of the provider.
    const fn asks(self) -> Option<Does> {
        match self {
            Self::Provision => Some(Does::Create),
            Self::Cleanup => Some(Does::Destroy { of_down: false }),
            Self::Destroy => Some(Does::Destroy { of_down: true }),
            Self::Install | Self::Stop | Self::Persist => None,
        }
    }

    /// Where the session goes when it is done, and the phase that goes on.
    const fn next(self) -> (Session, Option<Self>) {
        match self {
            Self::Provision => (Session::Installing, Some(Self::Install)),
            Self::Install => (Session::Ready, None),
            Self::Cleanup => (Session::Failed, None),
            Self::Stop => (Session::Persisting, Some(Self::Persist)),
            Self::Persist => (Session::Persisting, Some(Self::Destroy)),
            Self::Destroy => (Session::Stopped, None),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Worker {
    A,
    B,
}

/// The lease row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    pub fence: u8,
    pub owner: Option<Worker>,
    pub expired: bool,
    /// Nobody can see this: who really holds the lease, whatever the row says.
    pub term: u8,
}

/// The latest operation of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operation {
    pub number: u8,
    pub phase: Phase,
    pub live: bool,
}

/// A task of a worker, with what it believes. A worker whose lease ran out may claim again and have two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Job {
    pub worker: Worker,
    pub fence: u8,
    pub term: u8,
    pub operation: u8,
    pub session: Session,
    pub phase: Phase,
    pub step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    Begin,
    /// The provider was asked and has not answered.
    Asked,
    Done,
}

impl Job {
    /// What it asks of the provider next; the phase's state is written first.
    pub fn asks(&self) -> Option<Does> {
        self.phase.asks().filter(|_| self.session == self.phase.state())
    }
}

/// A request on its way to the provider. It arrives some time, whatever has become of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    pub fence: u8,
    pub does: Does,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Does {
    Create,
    Destroy { of_down: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Provider {
    pub sandbox: bool,
    /// The highest fence that it has seen.
    pub seen: u8,
    /// The fence under which it was last destroyed.
    pub destroyed: Option<u8>,
}

/// What must never have happened, kept once it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Broken {
    pub stale_write: bool,
    pub stale_destroy: bool,
    pub fence_fell: bool,
    pub final_left: bool,
    pub unverified_destroy: bool,
    pub created_when_final: bool,
}

/// How often things may still go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Faults {
    /// A lease runs out under a worker that lives: it is frozen, slow or cut off.
    pub expiries: u8,
    /// A phase fails for good.
    pub failures: u8,
    /// The sandbox of a ready session is lost.
    pub losses: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub session: Session,
    pub operation: Operation,
    pub lease: Lease,
    /// The state that the last event leads to, and its fence.
    pub event: (Session, u8),
    pub record: bool,
    pub down_asked: bool,
    pub jobs: BTreeSet<Job>,
    pub calls: BTreeSet<Call>,
    pub provider: Provider,
    pub faults: Faults,
    pub broken: Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Claim(Worker),
    Expire,
    /// The worker learns that its lease is lost; or it has died.
    GiveUp(Job),
    /// A phase begins: it asks the provider, or needs nothing of it.
    Ask(Job),
    Arrive(Call),
    /// A phase's result is written.
    Commit(Job),
    Fail(Job),
    Down,
    Lose,
    Reconcile,
}

impl State {
    /// An `up`, accepted.
    pub fn accepted(faults: Faults) -> Self {
        Self {
            session: Session::Requested,
            operation: Operation { number: 0, phase: Phase::Provision, live: true },
            lease: Lease { fence: 0, owner: None, expired: false, term: 0 },
            event: (Session::Requested, 0),
            record: false,
            down_asked: false,
            jobs: BTreeSet::new(),
            calls: BTreeSet::new(),
            provider: Provider::default(),
            faults,
            broken: Broken::default(),
        }
    }

    /// Who holds the lease in truth.
    fn is_holder(&self, job: &Job) -> bool {
        job.term == self.lease.term && !self.lease.expired
    }

    /// Who holds it as far as the database can tell: `hold_lease`.
    fn holds(&self, guards: &Guards, job: &Job) -> bool {
        let lease = &self.lease;
        lease.fence == job.fence && lease.owner == Some(job.worker) && !(guards.expiry && lease.expired)
    }

    pub fn claim(&mut self, guards: &Guards, worker: Worker) {
        self.lease.fence += u8::from(guards.claim_raises);
        self.lease = Lease { owner: Some(worker), expired: false, term: self.lease.term + 1, ..self.lease };
        let Operation { number, phase, .. } = self.operation;
        let (fence, term) = (self.lease.fence, self.lease.term);
        self.jobs.insert(Job { worker, fence, term, operation: number, session: self.session, phase, step: Step::Begin });
    }

    pub fn may_claim(&self) -> bool {
        self.operation.live && (self.lease.owner.is_none() || self.lease.expired)
    }

    /// Whether the lease is one that nobody renews: its job is gone.
    pub fn is_abandoned(&self) -> bool {
        self.lease.owner.is_some() && !self.lease.expired && !self.jobs.iter().any(|job| job.term == self.lease.term)
    }

    pub fn give_up(&mut self, job: &Job) -> bool {
        !self.is_holder(job) && self.jobs.remove(job)
    }

    pub fn ask(&mut self, guards: &Guards, job: &Job) {
        self.jobs.remove(job);
        let destroys = matches!(job.phase, Phase::Cleanup | Phase::Destroy);
        if destroys && guards.destroy && !self.holds(guards, job) {
            return;
        }
        self.broken.stale_destroy |= destroys && !self.is_holder(job);
        let Some(does) = job.asks() else { return };
        self.calls.insert(Call { fence: job.fence, does });
        self.jobs.insert(Job { step: Step::Asked, ..*job });
    }

    pub fn arrive(&mut self, guards: &Guards, call: &Call) {
        self.calls.remove(call);
        let waits = |job: &&Job| job.fence == call.fence && job.step == Step::Asked && job.phase.asks() == Some(call.does);
        let waiting = self.jobs.iter().find(waits).copied();
        waiting.map(|job| self.jobs.remove(&job));
        let provider = &mut self.provider;
        let refused = match call.does {
            Does::Create => call.fence < provider.seen || provider.destroyed.is_some_and(|fence| call.fence <= fence),
            Does::Destroy { .. } => call.fence < provider.seen,
        };
        if refused && guards.provider {
            return;
        }
        provider.seen = provider.seen.max(call.fence);
        match call.does {
            Does::Create => {
                self.broken.created_when_final |= self.session.is_final();
                provider.sandbox = true;
            }
            Does::Destroy { of_down } => {
                self.broken.unverified_destroy |= of_down && !self.record;
                provider.sandbox = false;
                provider.destroyed = Some(call.fence);
            }
        }
        if let Some(job) = waiting {
            self.jobs.insert(Job { step: Step::Done, ..job });
        }
    }

    /// One statement of a worker: state, operation and event, each as far as its guard lets it.
    pub fn write(&mut self, guards: &Guards, job: &Job, to: Session, phase: Option<Phase>) {
        self.jobs.remove(job);
        let (held, stale) = (self.holds(guards, job), !self.is_holder(job));
        let in_step = self.session == job.session;
        let moves = to != job.session;
        let may = |guard: bool| held && in_step || !guard;
        if may(guards.state) && in_step {
            self.broken.stale_write |= stale;
            self.enter(to);
        }
        if may(guards.completion) && phase.is_none() {
            self.broken.stale_write |= stale;
            self.operation.live &= job.operation != self.operation.number;
        }
        if may(guards.append) && moves {
            self.broken.stale_write |= stale;
            self.append(to, job.fence);
        }
        if !(held && in_step) {
            return;
        }
        match phase {
            Some(phase) => {
                self.operation.phase = phase;
                self.jobs.insert(Job { session: to, phase, step: Step::Begin, ..*job });
            }
            None => self.lease = Lease { owner: None, expired: false, ..self.lease },
        }
    }

    fn enter(&mut self, to: Session) {
        self.broken.final_left |= self.session.is_final() && to != self.session;
        self.session = to;
    }

    fn append(&mut self, to: Session, fence: u8) {
        self.broken.fence_fell |= fence < self.event.1;
        self.event = (to, fence);
    }

    pub fn commit(&mut self, guards: &Guards, job: &Job) {
        if job.session != job.phase.state() {
            // The phase's state comes before the phase.
            return self.write(guards, job, job.phase.state(), Some(job.phase));
        }
        if job.phase == Phase::Persist && self.holds(guards, job) {
            self.record = true;
        }
        let (to, phase) = job.phase.next();
        self.write(guards, job, to, phase);
    }

    pub fn fail(&mut self, guards: &Guards, job: &Job) {
        self.faults.failures -= 1;
        match job.phase {
            Phase::Provision | Phase::Install => self.write(guards, job, Session::Failing, Some(Phase::Cleanup)),
            // The record was not stored: nothing goes on from here without one.
            Phase::Persist if !guards.record_first => self.write(guards, job, Session::Persisting, Some(Phase::Destroy)),
            // Tried again by whoever claims it next.
            Phase::Cleanup | Phase::Stop | Phase::Persist | Phase::Destroy => {
                self.jobs.remove(job);
                if self.holds(guards, job) {
                    self.lease = Lease { owner: None, expired: false, ..self.lease };
                }
            }
        }
    }

    /// `down`, or the reconciler: one transaction ends what is live and begins an operation in its place.
    pub fn overtake(&mut self, guards: &Guards, to: Session, phase: Phase) {
        self.lease.fence += u8::from(guards.cancel_raises);
        self.lease.term += 1;
        if guards.cancel_revokes {
            self.lease = Lease { owner: None, expired: false, ..self.lease };
        }
        self.operation = Operation { number: self.operation.number + 1, phase, live: true };
        if to != self.session {
            self.enter(to);
            self.append(to, self.lease.fence);
        }
    }

    /// What a `down` begins with, if it begins anything.
    pub fn down_begins(&self) -> Option<(Session, Phase)> {
        match self.session {
            Session::Ready => Some((Session::Stopping, Phase::Stop)),
            Session::Requested | Session::Provisioning | Session::Installing | Session::Failing => Some((Session::Failing, Phase::Cleanup)),
            Session::Failed | Session::Stopping | Session::Persisting | Session::Stopped => None,
        }
    }

    /// Nothing is under way, and the session and its sandbox agree.
    pub fn is_settled(&self) -> bool {
        let agree = match self.session {
            Session::Ready => self.provider.sandbox,
            Session::Failed | Session::Stopped => !self.provider.sandbox,
            _ => false,
        };
        agree && !self.operation.live && self.jobs.is_empty() && self.calls.is_empty()
    }
}

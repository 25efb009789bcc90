//! What goes wrong and when: planned before the run, from the seed alone.

use std::{fmt, time::Duration};

use serde::Serialize;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $weight:literal, $least:literal, $most:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        pub enum Kind {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How often it comes, beside the others.
            const fn weight(self) -> usize {
                match self { $(Self::$variant => $weight,)* }
            }

            /// The shortest and the longest time that it takes, in milliseconds.
            const fn times(self) -> (u64, u64) {
                match self { $(Self::$variant => ($least, $most),)* }
            }
        }
    };
}

kinds! {
    /// `kill -9`; started again when the time is over.
    KillServer = "kill -9 of a server", 4, 0, 4000;
    /// SIGTERM; the same.
    TerminateServer = "SIGTERM of a server", 2, 0, 2000;
    /// SIGSTOP, and SIGCONT when the time, beyond a lease, is over.
    FreezeServer = "SIGSTOP beyond the lease", 3, 500, 5000;
    /// Killed as PostgreSQL's `immediate` mode does, and started again.
    RestartDatabase = "database restart", 1, 0, 2000;
    /// Every connection of one server to the database ends.
    CutConnections = "connections cut", 2, 0, 0;
    RefuseConnections = "connections refused", 1, 1000, 6000;
    /// Beyond a lease: what was on its way comes late.
    Stall = "network stalled", 3, 3200, 7000;
    BlackHole = "network a black hole", 2, 1000, 8000;
    SlowNetwork = "network slow", 1, 2000, 6000;
    /// Commits that are done and whose replies are lost.
    LoseCommits = "cut in a commit", 4, 1000, 3000;
    /// Idle connections take every place that the database has.
    TakeConnections = "database connections taken", 1, 2000, 6000;
    /// More requests at once than a server has connections.
    Flood = "flood of requests", 1, 2000, 5000;
    /// `kill -9` of all that runs in a sandbox.
    KillSandbox = "kill -9 of a sandbox", 3, 0, 0;
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// After the beginning of the run.
    pub at: Duration,
    pub kind: Kind,
    pub replica: usize,
    /// How long it lasts.
    pub time: Duration,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (replica {}, {:.1} s)", self.kind, self.replica, self.time.as_secs_f64())
    }
}

/// The faults of a run, in order. Every kind comes before any comes again as often as its weight.
pub fn plan(seed: u64, length: Duration, replicas: usize) -> Vec<Fault> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut faults, mut bag) = (Vec::new(), Vec::new());
    // First there is something to disturb.
    let mut at = Duration::from_secs(3);
    while at < length {
        if bag.is_empty() {
            bag = Kind::ALL.iter().flat_map(|kind| std::iter::repeat_n(*kind, kind.weight())).collect();
            random.shuffle(&mut bag);
        }
        let kind = bag.pop().expect("it was filled");
        let (least, most) = kind.times();
        let time = Duration::from_millis(random.u64(least..=most));
        faults.push(Fault { at, kind, replica: random.usize(0..replicas), time });
        at += Duration::from_millis(random.u64(300..=3500));
    }
    faults
}

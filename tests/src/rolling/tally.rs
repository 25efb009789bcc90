//! What each class of callers saw.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How callers reach the API, and what they do when it does not go well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// HTTP/2; asks again where the answer says that it may.
    Retrying,
    /// HTTP/1.1 on connections that are kept; asks once.
    OnceHttp1,
    /// HTTP/2; asks once.
    OnceHttp2,
    /// A connection a request; asks once.
    OnceFresh,
    /// Event streams, taken up again after a clean end.
    Stream,
}

impl Class {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retrying => "retrying, HTTP/2",
            Self::OnceHttp1 => "once, HTTP/1.1 kept alive",
            Self::OnceHttp2 => "once, HTTP/2",
            Self::OnceFresh => "once, a connection a request",
            Self::Stream => "event streams",
        }
    }
}

#[derive(Debug, Default)]
pub struct Tally(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    seen: BTreeMap<(Class, String), u64>,
    faults: BTreeSet<String>,
}

impl Tally {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn saw(&self, class: Class, outcome: impl ToString) {
        *self.pages().seen.entry((class, outcome.to_string())).or_default() += 1;
    }

    /// What must not be.
    pub fn fault(&self, class: Class, what: &str) {
        self.pages().faults.insert(format!("{}: {what}", class.as_str()));
    }

    pub fn faults(&self) -> Vec<String> {
        self.pages().faults.iter().cloned().collect()
    }

    /// By class: each outcome and how often.
    pub fn by_class(&self) -> BTreeMap<&'static str, BTreeMap<String, u64>> {
        let mut classes = BTreeMap::<_, BTreeMap<_, _>>::new();
        for ((class, outcome), count) in &self.pages().seen {
            classes.entry(class.as_str()).or_default().insert(outcome.clone(), *count);
        }
        classes
    }

    /// How often an outcome was seen, by those of whom `which` is true.
    pub fn count(&self, which: impl Fn(Class, &str) -> bool) -> u64 {
        self.pages().seen.iter().filter(|((class, outcome), _)| which(*class, outcome)).map(|(_, count)| count).sum()
    }
}

//! Classes of requests. Each has places of its own, so that a flood of one takes nothing from another.

use std::sync::Arc;

use axum::{
    extract::MatchedPath,
    http::{Method, request::Parts},
};
use tokio::sync::OwnedSemaphorePermit;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Up,
    Down,
    Read,
    /// Every other change.
    Write,
    /// Whose an access token is: asked for somebody who is nobody yet.
    Lookup,
}

impl Class {
    pub const ALL: [Self; 5] = [Self::Up, Self::Down, Self::Read, Self::Write, Self::Lookup];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Read => "read",
            Self::Write => "write",
            Self::Lookup => "lookup",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    pub(super) fn of(parts: &Parts) -> Self {
        let route = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        match (&parts.method, route) {
            (&Method::GET | &Method::HEAD, _) => Self::Read,
            (&Method::POST, Some("/v1/sessions")) => Self::Up,
            (&Method::POST, Some("/v1/sessions/{session_id}/down")) => Self::Down,
            _ => Self::Write,
        }
    }
}

/// How many requests of each class may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places([usize; Class::ALL.len()]);

impl Places {
    /// A request has at most one connection of a pool at a time. So that no class, nor all of them together, can hold
    /// every connection for single statements: of sixteen six are for `up`, which hold theirs until the commit is on disk and reach it
    /// together; five for reads, which are short; two for look-ups, one for other writes; the rest is the hub's, which listens and reads
    /// for all who wait and watch. Of those for transactions other writes may have as many as they have places, and `down` the rest.
    #[must_use]
    pub fn of(statements: u32, transactions: u32) -> Self {
        let sixteenths = |count: u32| (statements * count / 16).max(1) as usize;
        let write = sixteenths(1).min((transactions as usize / 2).max(1));
        let down = (transactions as usize).saturating_sub(write).max(1);
        Self([sixteenths(6), down, sixteenths(5), write, sixteenths(2)])
    }

    pub(super) const fn of_class(self, class: Class) -> usize {
        self.0[class.index()]
    }
}

/// One of its class's places, given back when the last that shares it is dropped.
#[derive(Debug, Clone)]
pub struct Place {
    pub(super) class: Class,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Place {
    pub(super) fn new(class: Class, permit: OwnedSemaphorePermit) -> Self {
        Self { class, _permit: Arc::new(permit) }
    }
}

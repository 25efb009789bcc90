//! What callers asked and were told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde_json::Value;

use super::client::Up;
use crate::invariants::Answer;

#[derive(Debug)]
pub struct Journal {
    begun: Instant,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    answers: Vec<Answer>,
    ups: BTreeSet<Up>,
    /// How often each action was answered with each status.
    statuses: BTreeMap<(&'static str, String), u64>,
}

/// Of whom an answer is.
#[derive(Debug, Clone, Copy)]
pub struct Of<'a> {
    pub tenant: &'a str,
    pub principal: &'a str,
    pub key: Option<&'a str>,
    pub session_id: Option<&'a str>,
}

impl Journal {
    pub fn begin() -> Self {
        Self { begun: Instant::now(), pages: Mutex::default() }
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An `up` is going to be asked for.
    pub fn asks(&self, up: &Up) {
        self.pages().ups.insert(up.clone());
    }

    /// An `up` or `down` was answered.
    pub fn answered(&self, of: Of<'_>, asked: Instant, status: u16, body: &Value) {
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let answer = Answer {
            tenant: of.tenant.to_owned(),
            principal: of.principal.to_owned(),
            key: of.key.map(str::to_owned),
            session_id: text("session_id").or_else(|| of.session_id.map(str::to_owned)),
            operation_id: text("operation_id"),
            status,
            body: body.clone(),
            asked_at: asked.duration_since(self.begun).as_secs_f64(),
            answered_at: self.begun.elapsed().as_secs_f64(),
        };
        self.pages().answers.push(answer);
    }

    pub fn counts(&self, action: &'static str, outcome: impl ToString) {
        *self.pages().statuses.entry((action, outcome.to_string())).or_default() += 1;
    }

    pub fn ups(&self) -> Vec<Up> {
        self.pages().ups.iter().cloned().collect()
    }

    pub fn answers(&self) -> Vec<Answer> {
        self.pages().answers.clone()
    }

    pub fn statuses(&self) -> BTreeMap<(&'static str, String), u64> {
        self.pages().statuses.clone()
    }
}

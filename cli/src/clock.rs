//! The time of day, for tokens and for "3 min ago".

use chrono::{DateTime, Utc};

/// A source of the time that tests can replace.
pub type Now = fn() -> DateTime<Utc>;

#[expect(clippy::disallowed_methods, reason = "the one place where the command line reads the clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

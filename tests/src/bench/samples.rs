//! Samples and what is told of them.

use std::time::Duration;

/// The middle one; the lower of two.
pub fn median(figures: Vec<f64>) -> f64 {
    Samples::of(figures).part(0.5)
}

/// In order.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    /// In milliseconds.
    pub fn of_times(times: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(times.into_iter().map(milliseconds).collect())
    }

    /// The figure that this part of all does not go beyond: 0.95 is the 95th percentile. Not a number, if there is none.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
    pub fn part(&self, part: f64) -> f64 {
        let last = self.0.len().saturating_sub(1) as f64;
        self.0.get((last * part).floor() as usize).copied().unwrap_or(f64::NAN)
    }

    /// `p50 1.20, p95 3.40, p99 5.00 ms`
    pub fn told(&self) -> String {
        let part = |part| super::report::figure(self.part(part));
        format!("p50 {}, p95 {}, p99 {} ms", part(0.5), part(0.95), part(0.99))
    }
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

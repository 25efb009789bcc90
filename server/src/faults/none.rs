//! The build that people use: no fault is injected.

use std::sync::Arc;

use crate::{domain::operation::Phase, lifecycle::PhaseError, sandbox::Provider};

#[derive(Debug, Clone)]
pub struct Faults;

impl Faults {
    #[inline]
    #[must_use]
    pub fn around_calls(self, provider: Arc<dyn Provider>) -> Arc<dyn Provider> {
        provider
    }

    #[inline]
    pub async fn around<T, F>(&self, _phase: Phase, run: impl Fn() -> F) -> Result<T, PhaseError>
    where
        F: Future<Output = Result<T, PhaseError>>,
    {
        run().await
    }

    #[inline]
    #[expect(clippy::unused_async, reason = "where faults are injected, this may hang")]
    pub async fn committed(&self, _phase: Phase) {}
}

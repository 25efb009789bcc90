//! Faults on purpose: at the boundaries of phases and around the provider's calls. They exist in a build
//! of their own (feature `faults`); in every other, [`Faults`] is nothing and does nothing.

#[cfg(feature = "faults")]
mod inject;
#[cfg(not(feature = "faults"))]
mod none;
#[cfg(feature = "faults")]
mod provider;
#[cfg(feature = "faults")]
mod rule;

#[cfg(feature = "faults")]
pub use inject::Faults;
#[cfg(not(feature = "faults"))]
pub use none::Faults;
#[cfg(feature = "faults")]
pub use rule::Rule;

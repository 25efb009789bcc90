//! Who is taken for whom.

use super::*;

pub(crate) mod corpus;
pub(crate) mod fixtures;
mod remote;
mod ring;
mod setup;
mod verification;

//! What a session is and may do. Pure: no web framework, no database, no runtime, no clock, no environment.

pub mod access_token;
pub mod addresses;
pub mod apps;
pub mod class;
pub mod credential;
pub mod down;
pub mod hosts;
pub mod idempotency;
pub mod import;
pub mod lifecycle;
pub mod lifetime;
pub mod operation;
pub mod pace;
pub mod pass;
pub mod principal;
pub mod record;
pub mod repo;
pub mod session;
pub mod stored_credential;
pub mod tenant;

mod error;

pub use error::{Fault, failure};

//! Alpine's control plane. `main` is the way in; the library exists so that tests can use its parts.

pub mod app;
pub mod auth;
pub mod clock;
pub mod config;
pub mod dev;
pub mod domain;
pub mod faults;
pub mod gateway;
pub mod http;
pub mod ledger;
pub mod lifecycle;
pub mod metrics;
pub mod program;
mod recent;
pub mod release;
pub mod sandbox;
pub mod shutdown;
pub mod telemetry;
pub mod worker;

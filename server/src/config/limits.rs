//! Settings of what callers may ask for.

use clap::Args;

use crate::http::Rate;

/// All of them are for one process: replicas do not know of each other.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Connections of this process; fewer where it may not open so many files.
    #[arg(long, env = "ALPINE_MAX_CONNECTIONS", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Connections from one address; 0: any number, as a proxy has one address.
    #[arg(long, env = "ALPINE_MAX_CONNECTIONS_PER_ADDRESS", default_value_t = 0)]
    pub max_connections_per_address: u32,
    /// Requests of one principal under way, those that only wait not counted; 0: any number.
    #[arg(long, env = "ALPINE_MAX_REQUESTS_PER_PRINCIPAL", default_value_t = 64)]
    pub max_requests_per_principal: u32,
    /// Streams of events and logs of one principal that are open; 0: any number.
    #[arg(long, env = "ALPINE_MAX_STREAMS_PER_PRINCIPAL", default_value_t = 32)]
    pub max_streams_per_principal: u32,
    /// Streams of events and logs of all.
    #[arg(long, env = "ALPINE_MAX_STREAMS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_streams: u32,
    /// Milliseconds that a request waits for a place of its class before it is answered 503.
    #[arg(long, env = "ALPINE_QUEUE_MILLISECONDS", default_value_t = 250, value_parser = clap::value_parser!(u64).range(0..=30_000))]
    pub queue_milliseconds: u64,
    /// Requests of a principal but for `up`: a second, and at once after a rest; 0: any number.
    #[arg(long, env = "ALPINE_RATE_PRINCIPAL", default_value = "50/200")]
    pub rate_principal: Rate,
    #[arg(long, env = "ALPINE_RATE_PRINCIPAL_UP", default_value = "5/60", help = "The same of its `up`s")]
    pub rate_principal_up: Rate,
    #[arg(long, env = "ALPINE_RATE_TENANT", default_value = "500/2000", help = "The same of all principals of a tenant")]
    pub rate_tenant: Rate,
    #[arg(long, env = "ALPINE_RATE_TENANT_UP", default_value = "50/600", help = "The same of their `up`s")]
    pub rate_tenant_up: Rate,
}

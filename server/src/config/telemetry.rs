//! Logs and traces. The `OTEL_*` variables are OpenTelemetry's own.

use std::{ffi::OsStr, path::PathBuf};

use clap::{Args, ValueEnum, builder::Resettable};
use secrecy::SecretString;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs and traces")]
pub struct TelemetryArgs {
    /// Levels, as in `info,alpine_server::worker=debug`.
    #[arg(long, env = "ALPINE_LOG", default_value = "info")]
    pub log: String,
    /// A file of such levels that counts before ALPINE_LOG; it is read again when it changes and on SIGHUP.
    #[arg(long, env = "ALPINE_LOG_FILTER_FILE")]
    pub log_filter_file: Option<PathBuf>,
    #[arg(long, env = "ALPINE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Pretty, help = "How log lines look")]
    pub log_format: LogFormat,
    /// Where traces go: an OTLP receiver; unset: nowhere.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// How: `http/protobuf` or `grpc`.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", value_enum, default_value_t = OtlpProtocol::HttpProtobuf)]
    pub otlp_protocol: OtlpProtocol,
    /// Headers sent with traces, as `name=value` pairs, comma-separated, values percent-encoded. Secret.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true)]
    pub otlp_headers: Option<SecretString>,
    /// Which traces are sent: `always_on`, `always_off`, `traceidratio`, or `parentbased_` and one of these.
    #[arg(long, env = "OTEL_TRACES_SAMPLER", value_enum, default_value_t = TracesSampler::ParentBasedAlwaysOn)]
    pub traces_sampler: TracesSampler,
    /// The part of all traces that a `traceidratio` sends: 0 to 1.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value_t = 1.0, value_parser = ratio)]
    pub traces_sampler_arg: f64,
    /// The name of this service in traces. Default: `alpine-server`.
    #[arg(long, env = "OTEL_SERVICE_NAME")]
    pub otlp_service_name: Option<String>,
    /// What else traces say of this service, as `name=value` pairs, comma-separated, values percent-encoded.
    #[arg(long, env = "OTEL_RESOURCE_ATTRIBUTES")]
    pub otlp_resource_attributes: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Pretty,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OtlpProtocol {
    #[value(name = "http/protobuf")]
    HttpProtobuf,
    Grpc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TracesSampler {
    #[value(name = "always_on")]
    AlwaysOn,
    #[value(name = "always_off")]
    AlwaysOff,
    #[value(name = "traceidratio")]
    TraceIdRatio,
    #[value(name = "parentbased_always_on")]
    ParentBasedAlwaysOn,
    #[value(name = "parentbased_always_off")]
    ParentBasedAlwaysOff,
    #[value(name = "parentbased_traceidratio")]
    ParentBasedTraceIdRatio,
}

/// OpenTelemetry's own variables are unset where they are empty: its specification says so, and files of settings rely on it.
#[expect(clippy::disallowed_methods, reason = "a part of config.rs")]
pub fn without_empty_otel(command: clap::Command) -> clap::Command {
    without_empty(command, &|name| std::env::var_os(name).is_some_and(|value| value.is_empty()))
}

fn without_empty(command: clap::Command, is_empty: &dyn Fn(&OsStr) -> bool) -> clap::Command {
    let unset = |name: &OsStr| name.to_string_lossy().starts_with("OTEL_") && is_empty(name);
    command
        .mut_args(|arg| if arg.get_env().is_some_and(unset) { arg.env(Resettable::Reset) } else { arg })
        .mut_subcommands(|subcommand| without_empty(subcommand, is_empty))
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "a number such as 0.1 is needed".to_owned())?;
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err("it has to be from 0 to 1".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::config::Cli;

    #[test]
    fn an_empty_variable_of_opentelemetry_is_one_that_is_not_set_and_no_other() {
        let command = without_empty(Cli::command(), &|name| name != "OTEL_SERVICE_NAME");
        let serve = command.find_subcommand("serve").unwrap();
        let variables: Vec<String> =
            serve.get_arguments().filter_map(|arg| arg.get_env()).map(|name| name.to_string_lossy().into_owned()).collect();
        assert_eq!(variables.iter().filter(|name| name.starts_with("OTEL_")).collect::<Vec<_>>(), ["OTEL_SERVICE_NAME"]);
        assert!(variables.iter().any(|name| name == "ALPINE_LOG"), "{variables:?}");
    }
}

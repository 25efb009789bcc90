//! What is configured of logs and traces, as `telemetry` takes it.

use super::AppError;
use crate::{
    config::{LogFormat, OtlpProtocol, TelemetryArgs, TracesSampler},
    telemetry::{self, Export, Sampling},
};

pub fn settings(args: &TelemetryArgs) -> Result<telemetry::Settings, AppError> {
    Ok(telemetry::Settings {
        format: match args.log_format {
            LogFormat::Json => telemetry::Format::Json,
            LogFormat::Pretty => telemetry::Format::Pretty,
        },
        filter: args.log.clone(),
        filter_file: args.log_filter_file.clone(),
        export: args.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty()).map(|to| export(args, to)).transpose()?,
    })
}

fn export(args: &TelemetryArgs, endpoint: &str) -> Result<Export, AppError> {
    let ratio = args.traces_sampler_arg;
    let attributes = telemetry::parse_pairs(args.otlp_resource_attributes.as_deref().unwrap_or_default());
    Ok(Export {
        endpoint: endpoint.to_owned(),
        protocol: match args.otlp_protocol {
            OtlpProtocol::HttpProtobuf => telemetry::Protocol::HttpProtobuf,
            OtlpProtocol::Grpc => telemetry::Protocol::Grpc,
        },
        headers: args.otlp_headers.clone().unwrap_or_default(),
        sampling: match args.traces_sampler {
            TracesSampler::AlwaysOn => Sampling::AlwaysOn,
            TracesSampler::AlwaysOff => Sampling::AlwaysOff,
            TracesSampler::TraceIdRatio => Sampling::Ratio(ratio),
            TracesSampler::ParentBasedAlwaysOn => Sampling::ParentOrAlwaysOn,
            TracesSampler::ParentBasedAlwaysOff => Sampling::ParentOrAlwaysOff,
            TracesSampler::ParentBasedTraceIdRatio => Sampling::ParentOrRatio(ratio),
        },
        service: args.otlp_service_name.clone(),
        attributes: attributes.map_err(|error| AppError::Setting {
            what: format!("OTEL_RESOURCE_ATTRIBUTES: {error}"),
            next_step: "write it as deployment.environment.name=staging,host.name=a".to_owned(),
        })?,
    })
}

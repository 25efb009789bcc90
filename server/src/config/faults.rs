//! Settings of the build that goes wrong on purpose.

use clap::Args;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Faults")]
pub struct FaultArgs {
    /// Faults to inject, as `point=act[@probability][#count]`, comma-separated.
    #[arg(long, env = "ALPINE_FAULTS", value_delimiter = ',')]
    pub faults: Vec<crate::faults::Rule>,
    /// What decides where a fault is only probable.
    #[arg(long, env = "ALPINE_FAULTS_SEED")]
    pub faults_seed: Option<u64>,
    /// Be a later program, whose phases are of this set.
    #[arg(long, env = "ALPINE_FAULTS_PHASE_SCHEMA", default_value_t = 0)]
    pub faults_phase_schema: i16,
}

//! The composition root: configuration in, a running control plane out. The only place that knows all.

mod assemble;
mod background;
mod classes;
mod core_files;
mod error;
mod open_files;
mod restored;
mod sandboxes;
mod telemetry;

use std::{net::TcpListener, sync::Arc, time::Duration};

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{Authenticator, Issuer},
    clock::SystemClock,
    config::{AppsArgs, CommonArgs, DatabaseArgs, DevArgs, MigrateArgs, RoleArg, RotateArgs, ServeArgs, Surroundings},
    dev,
    domain::{apps::AppsDomain, class::Classes, operation::Deadlines, tenant::TenantPolicy},
    gateway::Gateway,
    http,
    ledger::{self, Ledger, MigrateSettings, Migrated, PoolSettings, Pools, Sealer},
    lifecycle::Engine,
    metrics::Metrics,
    sandbox::{Observed, Provider},
    shutdown::{self, Stop},
    worker::Worker,
};

use background::Background;
use sandboxes::{Ground, Sandboxes};

pub use core_files::forbid as forbid_core_files;
pub use error::AppError;
pub use restored::{after_restore, verify_ledger};

/// After all is drained and handed over: leases are given back and connections closed, if the database answers.
const LAST_WRITES: Duration = Duration::from_secs(5);
/// For `dev` to have its PostgreSQL started and be able to end it again, when it was asked to stop before that; a download takes
/// longer, and is given up.
const STARTING: Duration = Duration::from_secs(10);

/// A control plane, decided in every detail.
struct Plan {
    role: RoleArg,
    listener: TcpListener,
    tls: Option<http::TlsFiles>,
    pools: PoolSettings,
    issuers: Vec<Issuer>,
    sealer: Sealer,
    /// Whether nobody else reads what is sent here.
    takes_secrets: bool,
    classes: Arc<Classes>,
    deadlines: Deadlines,
    /// From not ready to not listening.
    shutdown_delay: Duration,
    /// `None`: no worker in this process.
    work: Option<Work>,
    common: CommonArgs,
}

impl Plan {
    /// Of the way from the signal to the end: everything that has a bound of its own, and the last writes.
    fn longest_end(&self) -> Duration {
        let (drain, hand_over) = (self.common.http.drain_seconds, self.common.worker.hand_over_seconds);
        (self.shutdown_delay + Duration::from_secs(drain)).max(Duration::from_secs(hand_over)) + LAST_WRITES
    }
}

/// What only a process that works needs: the tools of its machine.
struct Work {
    sandboxes: Sandboxes,
    engine: crate::lifecycle::Settings,
}

pub async fn serve(args: ServeArgs, surroundings: Surroundings) -> Result<(), AppError> {
    // Before all: a signal that comes while this starts would end it as if it had failed.
    let stop = Stop::on_signals().map_err(AppError::Runtime)?;
    let guard = crate::telemetry::init(&telemetry::settings(&args.common.telemetry)?)?;
    for said in surroundings.misspelt() {
        tracing::warn!("{said}");
    }
    let classes = classes::read(&args.common)?;
    assemble::check_apps(&args)?;
    let plan = Plan {
        role: args.role,
        listener: assemble::listen(args.listen)?,
        tls: assemble::tls(&args),
        pools: PoolSettings {
            // A worker that serves sessions' hosts serves requests.
            serves: args.role != RoleArg::Worker || args.common.apps.apps_domain.is_some(),
            ..pool_settings(&args.database, args.role)
        },
        issuers: assemble::issuers(&args.auth)?,
        sealer: assemble::sealer(&args.credentials)?,
        takes_secrets: assemble::takes_secrets(&args),
        deadlines: assemble::deadlines(&args.common.worker),
        classes: Arc::clone(&classes),
        // Nobody sends requests to a process that only works.
        shutdown_delay: Duration::from_secs(if args.role == RoleArg::Worker { 0 } else { args.common.http.shutdown_delay_seconds }),
        work: if args.role == RoleArg::Api { None } else { Some(work(&args, &surroundings, &classes)?) },
        common: args.common,
    };
    let outcome = run(plan, false, &stop).await;
    flush(guard).await;
    outcome
}

fn work(args: &ServeArgs, surroundings: &Surroundings, classes: &Classes) -> Result<Work, AppError> {
    let data_dir = args.data_dir.clone().unwrap_or_else(|| assemble::default_data_dir(surroundings));
    assemble::make_data_dir(&data_dir)?;
    let serve_command = sandboxes::serve_command(&args.common.sandbox, || dev::tools::in_path(&surroundings.path, "opencode"))?;
    let ground = Ground { common: &args.common, data_dir: &data_dir, surroundings, classes, allow_file: false };
    Ok(Work {
        sandboxes: Sandboxes::new(ground, &serve_command)?,
        engine: assemble::engine(&args.common, &data_dir, surroundings, serve_command, false)?,
    })
}

pub async fn dev(args: DevArgs, surroundings: Surroundings) -> Result<(), AppError> {
    let stop = Stop::on_signals().map_err(AppError::Runtime)?;
    let guard = crate::telemetry::init(&telemetry::settings(&args.common.telemetry)?)?;
    // Before anything is fetched or started for it.
    sandboxes::check(&args.common)?;
    let settings = dev::DevSettings {
        data_dir: args.data_dir.clone().unwrap_or_else(|| assemble::default_data_dir(&surroundings)),
        hidden: &crate::sandbox::host::HIDDEN,
        listen: args.listen,
        postgres_bin: args.postgres_bin.clone(),
        apps: args.common.apps.apps_domain.as_ref().map(AppsDomain::wildcard),
        cli_config_dir: args.cli_config_dir.clone().map_or_else(|| assemble::cli_config_dir(&surroundings), Ok)?,
        path: surroundings.path.clone(),
        need_opencode: sandboxes::needs_opencode(&args.common.sandbox),
    };
    let environment = tokio::select! {
        prepared = dev::prepare(settings) => prepared?,
        () = given_up(&stop) => return Ok(()),
    };
    let outcome = match dev_plan(args, &surroundings, &environment) {
        Ok(plan) => {
            tracing::info!(url = environment.server_url, data = %environment.data_dir.path().display(), "the CLI's profile `dev` leads here");
            run(plan, true, &stop).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = environment.postgres.stop().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "PostgreSQL is left running; the next start adopts it");
    }
    flush(guard).await;
    outcome
}

/// Until it is no longer worth waiting for the start of what has been asked to stop.
async fn given_up(stop: &Stop) {
    let late = async {
        stop.soft.cancelled().await;
        tokio::time::sleep(STARTING).await;
    };
    tokio::select! {
        () = late => {}
        () = stop.hard.cancelled() => {}
    }
}

/// The last traces may find no receiver; that is not how the program ended.
async fn flush(guard: crate::telemetry::Guard) {
    if let Err(error) = guard.shutdown().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "the last traces are lost");
    }
}

fn dev_plan(args: DevArgs, surroundings: &Surroundings, environment: &dev::DevEnvironment) -> Result<Plan, AppError> {
    let data_dir = environment.data_dir.path();
    let serve_command = sandboxes::serve_command(&args.common.sandbox, || environment.opencode.clone())?;
    let classes = classes::read(&args.common)?;
    Ok(Plan {
        role: RoleArg::All,
        listener: assemble::listen(environment.listen)?,
        tls: Some(http::TlsFiles { cert: environment.tls_cert.clone(), key: environment.tls_key.clone() }),
        pools: PoolSettings {
            database_url: environment.database_url.clone(),
            statements: 16,
            transactions: 6,
            acquire_timeout: Duration::from_secs(5),
            serves: true,
            works: true,
        },
        issuers: vec![assemble::dev_issuer(&assemble::read(&environment.jwt_secret_file)?)],
        sealer: Sealer::new(&assemble::read(&environment.credential_key_file)?)
            .map_err(|source| AppError::CredentialKey { path: environment.credential_key_file.clone(), source })?,
        takes_secrets: true,
        deadlines: assemble::deadlines(&args.common.worker),
        classes: Arc::clone(&classes),
        // A person waits for it at the terminal, and no load balancer.
        shutdown_delay: Duration::ZERO,
        work: Some(Work {
            sandboxes: Sandboxes::new(
                Ground { common: &args.common, data_dir, surroundings, classes: &classes, allow_file: true },
                &serve_command,
            )?,
            engine: assemble::engine(&args.common, data_dir, surroundings, serve_command, true)?,
        }),
        // Who works on one machine has no DNS for it.
        common: CommonArgs { apps: AppsArgs { apps_paths: true, ..args.common.apps }, ..args.common },
    })
}

/// What `serve` would refuse before it asks the database or looks at its machine is refused as there; the issuers that would be
/// trusted, a line each.
pub fn check(args: &ServeArgs) -> Result<Vec<String>, AppError> {
    crate::telemetry::check(&telemetry::settings(&args.common.telemetry)?)?;
    ledger::check_url(&args.database.database_url)?;
    assemble::sealer(&args.credentials)?;
    assemble::hosts(&args.common.git)?;
    classes::read(&args.common)?;
    assemble::check_apps(args)?;
    if args.role != RoleArg::Api {
        sandboxes::check(&args.common)?;
    }
    assemble::tls(args).as_ref().map_or(Ok(()), http::TlsFiles::check)?;
    let issuers = assemble::issuers(&args.auth)?;
    let lines = issuers.iter().map(ToString::to_string).collect();
    Authenticator::new(issuers, Arc::new(SystemClock), Arc::new(Metrics::new()))?;
    Ok(lines)
}

/// The schema brought up to date; what was done is in the log.
pub async fn migrate(args: &MigrateArgs) -> Result<(), AppError> {
    let guard = crate::telemetry::init(&telemetry::settings(&args.telemetry)?)?;
    let outcome = ledger::migrate(&args.database.database_url, &args.settings()).await;
    flush(guard).await;
    Ok(outcome.map(said)?)
}

fn said(migrated: Migrated) {
    match migrated {
        Migrated::Applied(count) => tracing::info!(count, "the schema is this program's"),
        Migrated::Newer(newest) => tracing::info!(newest, "a newer program has migrated further, which this one can be served with"),
    }
}

/// Seal everything anew with the current key; what was done.
pub async fn rotate_credentials(args: &RotateArgs) -> Result<String, AppError> {
    let sealer = assemble::sealer(&args.credentials)?;
    let key_id = sealer.key_id().to_owned();
    let pools = Pools::connect(&pool_settings(&args.database, RoleArg::Worker), &Arc::new(Metrics::new()))?;
    let ledger = Ledger::new(pools.clone(), sealer, Deadlines::default(), TenantPolicy::default());
    let rotation = ledger.rotate_credentials().await?;
    pools.close().await;
    if rotation.unopened.is_empty() {
        return Ok(format!("{} secrets sealed anew; all are sealed with key {key_id} now", rotation.resealed));
    }
    Err(AppError::Unopened { unopened: rotation.unopened })
}

fn pool_settings(args: &DatabaseArgs, role: RoleArg) -> PoolSettings {
    PoolSettings {
        database_url: SecretString::clone(&args.database_url),
        statements: args.db_connections,
        transactions: args.db_transaction_connections,
        acquire_timeout: Duration::from_secs(args.db_acquire_seconds),
        serves: role != RoleArg::Worker,
        works: role != RoleArg::Api,
    }
}

async fn run(plan: Plan, migrate: bool, stop: &Stop) -> Result<(), AppError> {
    let Stop { soft, hard, .. } = stop;
    let bound = tokio::spawn(shutdown::within(plan.longest_end(), soft.clone(), hard.clone()));
    let work = async {
        if migrate {
            said(ledger::migrate(&plan.pools.database_url, &MigrateSettings::default()).await?);
        }
        compose(plan, soft.clone()).await
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = hard.cancelled() => Ok(()),
    };
    bound.abort();
    outcome
}

async fn compose(plan: Plan, soft: CancellationToken) -> Result<(), AppError> {
    let (metrics, closing, last) = (Arc::new(Metrics::new()), CancellationToken::new(), CancellationToken::new());
    let metrics_listener = plan.common.metrics.metrics_listen.map(assemble::listen).transpose()?;
    // To the end: what they watch ends with them.
    let threads = assemble::threads(&plan.common.apps, plan.tls.is_some())?;
    let pools = Pools::connect(&plan.pools, &metrics)?;
    let (phases, tenants) = (assemble::phases(&plan.common), assemble::tenants(&plan.common.tenants));
    let ledger = Ledger::knowing(phases, pools.clone(), plan.sealer, plan.deadlines, tenants);
    let http = &plan.common.http;
    let auth = Arc::new(Authenticator::new(plan.issuers, Arc::new(SystemClock), Arc::clone(&metrics))?);
    let connections = assemble::connections(&plan.common.limits, &plan.common.apps, open_files::raise());
    let connections = http::Connections::new(connections, Arc::clone(&metrics));
    let state = http::AppState::new(http::Parts {
        ledger: ledger.clone(),
        auth: Arc::clone(&auth),
        clock: Arc::new(SystemClock),
        metrics: Arc::clone(&metrics),
        settings: assemble::http(&plan.common, plan.takes_secrets),
        limits: assemble::limits(&plan.common.limits, &plan.pools),
        hosts: assemble::hosts(&plan.common.git)?,
        classes: plan.classes,
        apps: plan.common.apps.apps_domain.clone(),
        leaving: soft.clone(),
        shutdown: last.clone(),
    });
    let close = tokio::spawn(close_later(soft.clone(), closing.clone(), plan.shutdown_delay));
    let mut background = {
        let asks = plan.pools.serves;
        Background::start(&ledger, &metrics, asks.then(|| Arc::clone(&auth)), metrics_listener, soft.clone())
    };
    let (worker, provider) = match plan.work {
        None => (None, None),
        Some(work) => {
            let faults = assemble::faults(&plan.common, &metrics);
            let provider = Arc::new(work.sandboxes.provider().await?);
            let provider: Arc<dyn Provider> = Arc::new(Observed::new(faults.clone().around_calls(provider), Arc::clone(&metrics)));
            let engine = Engine::new(ledger.clone(), Arc::clone(&provider), work.engine, Arc::clone(&metrics))?;
            let worker = Worker::new(ledger, engine, metrics, Arc::new(SystemClock), faults, assemble::worker(&plan.common.worker));
            (Some(tokio::spawn(worker.run(soft.clone()))), Some(provider))
        }
    };
    let router = if plan.role == RoleArg::Worker { http::probes(state.clone()) } else { http::router(state.clone()) };
    let router = match assemble::gateway(&plan.common.apps) {
        Some(settings) => background.keep_gateway(Gateway::new(settings, state, provider)).before(router),
        None => router,
    };
    let drain = Duration::from_secs(http.drain_seconds);
    // Which program this is, for whoever reads the log of years ago.
    let (version, address) = (env!("CARGO_PKG_VERSION"), plan.listener.local_addr().ok());
    tracing::info!(version, role = ?plan.role, ?address, tls = plan.tls.is_some(), "serves");
    let apart = threads.as_ref().map(http::Threads::apart);
    let listening = http::Listening { listener: plan.listener, tls: plan.tls, connections, drain, last, apart };
    let served = http::serve(router, listening, closing).await;
    // A server that cannot serve must not go on working unseen.
    soft.cancel();
    close.abort();
    if let Some(worker) = worker {
        worker.await?;
    }
    background.stop().await?;
    pools.close().await;
    Ok(served?)
}

/// Not ready first, and only after `delay` closed: whoever sends requests here has to notice.
async fn close_later(leaving: CancellationToken, closing: CancellationToken, delay: Duration) {
    leaving.cancelled().await;
    tokio::time::sleep(delay).await;
    closing.cancel();
}

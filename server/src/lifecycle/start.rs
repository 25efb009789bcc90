//! Start and prove: a session is `ready` only when every condition has been seen to hold.

use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, HOST};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use reqwest::StatusCode;
use secrecy::SecretString;
use tracing::Instrument as _;

use super::{Done, Engine, PhaseError, install::MEND, redact::printable, remote::git_span, sync::is_at};
use crate::{
    domain::{
        apps::{App, PASSWORD},
        repo::CommitSha,
    },
    ledger::{Findings, Job, MadePassword},
    sandbox::{self, Command, Endpoint, Handle, Status, basic},
};

const STEP: &str = "start";
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
const LOOK: Duration = Duration::from_secs(1);
const PROBE: Duration = Duration::from_millis(500);
/// Says where the workspace is, on a line of its own, then tries whether it can be written.
const PROVE: &str = r#"git rev-parse --verify --quiet HEAD || echo
set -e
probe=$(mktemp ./.alpine-probe.XXXXXX)
printf ok > "$probe"
test "$(cat "$probe")" = ok
rm -f "$probe""#;

impl Engine {
    pub(super) async fn start(&self, job: &Job) -> Result<Done, PhaseError> {
        let handle = Self::handle(job)?;
        let target = job.session.target.as_ref().ok_or_else(|| PhaseError::permanent(STEP, "no commit is pinned"))?;
        let (project, _) = self.project(STEP, job, &handle).await?;
        let serve = project.serve.unwrap_or_else(|| self.settings.serve.clone());
        let password = self.password(job, &handle).await?;
        let secret_env = password.iter().map(|password| (PASSWORD.to_owned(), password.clone())).collect();
        let command = Command { argv: vec!["sh".to_owned(), "-c".to_owned(), serve], secret_env, ..Command::default() };
        let endpoint = self
            .acting(&job.lease)
            .await?
            .serve(&handle, job.lease.fence, command)
            .await
            .map_err(|error| PhaseError::provider(STEP, error))?;
        // While the program starts, the workspace is proved.
        self.tell(job, "checking the commit and the workspace").await;
        let budget = self.budget(job);
        let answers = self.answers(job, &handle, &endpoint, password.as_ref()).instrument(tracing::debug_span!("session.answers"));
        // `None`: it was silent for too long.
        let answered = async { tokio::time::timeout(budget, answers).await.ok().transpose() };
        match tokio::try_join!(self.prove(job, &handle, target), answered)? {
            ((), Some(())) => {}
            ((), None) => return Err(self.silent(&handle, &endpoint, budget, password.as_ref()).await),
        }
        let url = match &self.settings.apps {
            Some(apps) => apps.url(App::of(job.lease.session)),
            None => format!("http://{}:{}/", endpoint.host, endpoint.port),
        };
        let findings = Findings { opencode_url: Some(url), ..Findings::default() };
        Ok(Done { findings, ..Done::because("every readiness condition holds") })
    }

    /// Of the session's own server, where it is reached through its host: then nobody else is to reach it.
    async fn password(&self, job: &Job, handle: &Handle) -> Result<Option<SecretString>, PhaseError> {
        if self.settings.apps.is_none() {
            return Ok(None);
        }
        let provider = |error| PhaseError::provider(STEP, error);
        let MadePassword { password, new } = self.ledger.make_session_password(&job.lease).await?;
        if new && matches!(self.provider.inspect(job.lease.session).await.map_err(provider)?, Status::Serving { .. }) {
            // Begun by a worker that gave it none, it would be open to all of its machine.
            self.acting(&job.lease).await?.stop(handle, job.lease.fence, Duration::ZERO).await.map_err(provider)?;
        }
        Ok(Some(password))
    }

    /// A little less than the phase's deadline, so that silence is told as what it is.
    fn budget(&self, job: &Job) -> Duration {
        let whole = self.deadlines().of(job.phase).saturating_sub(job.phase_age()).min(job.remaining());
        whole.saturating_sub((whole / 10).min(Duration::from_secs(5)))
    }

    /// The workspace is at the commit, and can be written.
    async fn prove(&self, job: &Job, handle: &Handle, target: &CommitSha) -> Result<(), PhaseError> {
        let argv = vec!["sh".to_owned(), "-c".to_owned(), PROVE.to_owned()];
        let env = self.settings.git.local();
        let ran =
            self.exec("verify", job, handle, Command { argv, env, ..Command::default() }).instrument(git_span("rev-parse", None)).await?;
        let text = ran.text();
        let head = text.lines().next().filter(|head| !head.is_empty());
        is_at("verify", head, target)?;
        if ran.exit.success() {
            return Ok(());
        }
        Err(PhaseError::permanent("verify", format!("the workspace cannot be written ({}): {}", ran.outcome(), ran.tail(None))))
    }

    /// Until the URL answers 200 to 399 and it is the session's own program that listens there. Where there is a password it is not sent before
    /// that is known: a stranger could hold the port.
    async fn answers(&self, job: &Job, handle: &Handle, endpoint: &Endpoint, password: Option<&SecretString>) -> Result<(), PhaseError> {
        let mut pause = FIRST_PAUSE;
        let mut looked = Instant::now();
        let mut told = false;
        loop {
            let status = self.probe(endpoint).await;
            let well = status.is_some_and(|status| is_well(status) || (status == StatusCode::UNAUTHORIZED && password.is_some()));
            if !well && !std::mem::replace(&mut told, true) {
                self.tell(job, "waiting for the server to answer").await;
            }
            // To look at processes costs more than to ask a port: when it answers, and now and then.
            if well || looked.elapsed() > LOOK {
                looked = Instant::now();
                match self.provider.inspect(job.lease.session).await.map_err(|error| PhaseError::provider(STEP, error))? {
                    Status::Serving { listening, .. } if well && listening => {
                        if status.is_some_and(is_well) || self.lets_in(job, password).await.is_some_and(is_well) {
                            return Ok(());
                        }
                    }
                    Status::Serving { .. } => {}
                    Status::Idle | Status::Absent => {
                        let why = self.provider.ended(job.lease.session).await;
                        let why = why.unwrap_or_else(|| "the server process ended before it answered".to_owned());
                        let cause = format!("{why}: {}", self.said(handle, password).await);
                        return Err(PhaseError::permanent(STEP, cause).first(MEND));
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn probe(&self, endpoint: &Endpoint) -> Option<StatusCode> {
        let url = format!("http://{}:{}/", endpoint.host, endpoint.port);
        self.probe.get(url).send().await.ok().map(|answer| answer.status())
    }

    /// What the session's own program answers to its password, which nobody else is sent.
    async fn lets_in(&self, job: &Job, password: Option<&SecretString>) -> Option<StatusCode> {
        let asked = async {
            let listener = self.provider.listener(App::of(job.lease.session)).await.ok()??;
            let stream = TokioIo::new(sandbox::connect(&*self.provider, &listener).await.ok()?);
            let (mut sender, connection) = http1::handshake(stream).await.ok()?;
            let request = http::Request::get("/").header(HOST, "localhost").header(AUTHORIZATION, basic(password?)?);
            let request = request.body(String::new()).ok()?;
            let driven = tokio::spawn(connection);
            let answer = sender.send_request(request).await;
            driven.abort();
            answer.ok().map(|answer| answer.status())
        };
        tokio::time::timeout(PROBE, asked).await.ok().flatten()
    }

    /// What the silence of a server comes from.
    async fn silent(&self, handle: &Handle, endpoint: &Endpoint, waited: Duration, password: Option<&SecretString>) -> PhaseError {
        let seconds = waited.as_secs();
        let cause = match (self.provider.inspect(handle.session).await, self.probe(endpoint).await) {
            (Ok(Status::Serving { listening: true, .. }), Some(status)) => {
                format!("the session URL answered {status} for {seconds} s; 200 to 399 is needed")
            }
            (Ok(Status::Serving { listening: true, .. }), None) => format!("the session URL did not answer within {seconds} s"),
            _ => format!("the server did not listen on its port within {seconds} s"),
        };
        PhaseError::permanent(STEP, format!("{cause}: {}", self.said(handle, password).await)).first(MEND)
    }

    async fn said(&self, handle: &Handle, password: Option<&SecretString>) -> String {
        match self.provider.served_output(handle, 4096).await {
            Ok(text) if !text.trim().is_empty() => printable(&text, password),
            _ => "it wrote nothing".to_owned(),
        }
    }
}

fn is_well(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

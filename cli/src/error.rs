//! Everything that can end a command, and the one form in which it is told.

use std::{io, path::PathBuf};

use alpine_api::{BranchError, ErrorCode, OperationId, RepoUrlError, SessionId, SessionState};
use serde::Serialize;

use crate::{
    client::ClientError,
    commands::Summary,
    config::ConfigError,
    import::FileError,
    login::LoginError,
    token::TokenError,
    wire::{Failure, Word},
};

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Branch(#[from] BranchError),
    #[error("invalid repository URL")]
    RepoUrl(#[from] RepoUrlError),
    /// The text is no session's id, so no session has it.
    #[error("session not found")]
    NoSuchSession,
    /// The text is no token's id.
    #[error("token not found")]
    NoSuchToken,
    /// The text is no share's id.
    #[error("share not found")]
    NoSuchShare,
    /// The text is no credential's id, so no credential has it.
    #[error("credential not found")]
    NoSuchCredential,
    #[error("{cause}")]
    Usage { cause: String, next_step: String },
    #[error("a command is required")]
    NoCommand { help: String, next_step: String },
    #[error("alpine {old} was replaced by {new}")]
    Replaced { old: &'static str, new: &'static str },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What became of an operation cannot be seen any more; it goes on.
    #[error("{source}")]
    Waiting { source: Box<ClientError>, session_id: SessionId, operation_id: OperationId },
    #[error("{}", .failure.cause)]
    Operation { failure: Failure, session_id: SessionId, operation_id: OperationId },
    /// It has no page to be opened.
    #[error("session is {state}, not ready")]
    NotReady { session_id: SessionId, state: Word<SessionState> },
    /// The audit log is not as it was written.
    #[error("{cause}")]
    Audit { cause: String },
    #[error("cannot write {}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    ImportFile(#[from] FileError),
    /// Some of a ledger was not taken; all that was done.
    #[error("{} of the ledger's entries cannot be imported", .0.malformed.len())]
    Import(Box<Summary>),
    #[error("interrupted")]
    Interrupted { waiting_for: Option<(SessionId, OperationId)> },
    /// What was imported by then is there.
    #[error("interrupted")]
    ImportInterrupted,
    #[error("the program could not start")]
    Runtime(#[source] io::Error),
}

/// An error as it is printed; with `--json`, field for field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub error_code: Word<ErrorCode>,
    pub cause: String,
    pub next_step: String,
    pub retryable: bool,
    pub exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<OperationId>,
    /// Of an operation that failed: whose it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
}

impl Report {
    /// A report whose exit code and retryability are those of its code.
    pub fn new(code: ErrorCode, cause: impl ToString, next_step: impl Into<String>) -> Self {
        Self {
            error_code: Word::Known(code),
            cause: cause.to_string(),
            next_step: next_step.into(),
            retryable: code.retryable(),
            exit_code: code.exit_code(),
            operation_id: None,
            session_id: None,
        }
    }
}

impl CliError {
    pub fn report(&self) -> Report {
        match self {
            Self::Branch(BranchError::Missing) => {
                Report::new(ErrorCode::BranchRequired, self, "name the branch with --branch <b>, for example --branch main")
            }
            Self::Branch(BranchError::Invalid) => {
                Report::new(ErrorCode::InvalidBranch, self, "give a branch name that git accepts (see git help check-ref-format)")
            }
            Self::RepoUrl(why) => {
                Report::new(ErrorCode::InvalidRepoUrl, self, format!("{why}, for example https://github.com/org/repo.git"))
            }
            Self::NoSuchSession => Report::new(ErrorCode::SessionNotFound, self, "check the id with alpine list"),
            Self::NoSuchToken => Report::new(ErrorCode::NotFound, self, "run alpine token list to see the ids of your tokens"),
            Self::NoSuchShare => Report::new(ErrorCode::NotFound, self, "run alpine shares <session-id> to see the ids of its shares"),
            Self::NoSuchCredential => Report::new(ErrorCode::NotFound, self, "run alpine credential list to see your credentials"),
            Self::Usage { next_step, .. } => Report::new(ErrorCode::InvalidRequest, self, next_step),
            Self::NoCommand { next_step, .. } => Report::new(ErrorCode::InvalidRequest, self, next_step),
            Self::Replaced { new, .. } => Report::new(ErrorCode::CommandReplaced, self, format!("run {new}")),
            Self::Config(error) => error.report(),
            Self::Token(error) => error.report(),
            Self::Login(error) => error.report(),
            Self::Client(error) => error.report(),
            Self::Waiting { source, session_id, operation_id } => waiting(source, *session_id, *operation_id),
            Self::Operation { failure, session_id, operation_id } => Report {
                error_code: failure.error_code.clone(),
                cause: failure.cause.clone(),
                next_step: with_where_to_look(&failure.cause, &failure.next_step, *session_id),
                retryable: failure.retryable,
                // A code that this program does not know came from a step of the system that failed.
                exit_code: failure.error_code.known().map_or(2, |code| code.exit_code()),
                operation_id: Some(*operation_id),
                session_id: Some(*session_id),
            },
            Self::NotReady { session_id, state } => self.not_ready(*session_id, state),
            Self::Audit { .. } => Report {
                retryable: false,
                ..Report::new(
                    ErrorCode::PersistenceVerificationFailed,
                    self,
                    "check that --head, if it was given, is of this server and tenant; then keep what it reads now (alpine audit --json), and tell whoever runs the server that the log was changed",
                )
            },
            Self::File { source, .. } => {
                Report::new(ErrorCode::InvalidRequest, self, format!("{source}: name a place that you may write to"))
            }
            Self::ImportFile(error) => error.report(),
            Self::Import(_) => Report::new(
                ErrorCode::InvalidRequest,
                self,
                "correct these entries in a copy of the file and import that: what is here already stays as it is",
            ),
            Self::Interrupted { waiting_for } => self.interrupted(*waiting_for),
            Self::ImportInterrupted => Report::new(ErrorCode::Interrupted, self, "import the file again: it goes on where it was"),
            Self::Runtime(source) => Report::new(ErrorCode::Internal, format!("{self}: {source}"), "try again"),
        }
    }

    fn interrupted(&self, waiting_for: Option<(SessionId, OperationId)>) -> Report {
        let Some((session, operation)) = waiting_for else {
            return Report::new(ErrorCode::Interrupted, self, "run alpine list to see whether anything was begun");
        };
        let next = follow(session);
        let report = Report::new(ErrorCode::Interrupted, "interrupted; the operation goes on", next);
        Report { operation_id: Some(operation), session_id: Some(session), ..report }
    }

    fn not_ready(&self, session: SessionId, state: &Word<SessionState>) -> Report {
        use SessionState as S;
        let coming = matches!(state.known(), Some(S::Requested | S::Provisioning | S::RepoSyncing | S::Installing));
        let next = match coming {
            true => format!("wait for it with alpine events {session} --follow, then try again"),
            false => format!("run alpine status {session}; a new session comes from alpine up"),
        };
        Report { retryable: coming, session_id: Some(session), ..Report::new(ErrorCode::OperationConflict, self, next) }
    }
}

fn follow(session: SessionId) -> String {
    format!("follow it with alpine status {session} or alpine events {session} --follow")
}

/// Why it cannot be seen any more, and how to see it again.
fn waiting(source: &ClientError, session: SessionId, operation: OperationId) -> Report {
    let report = source.report();
    let next_step = format!("{}; the operation goes on: {}", report.next_step, follow(session));
    Report { next_step, operation_id: Some(operation), session_id: Some(session), ..report }
}

/// What git or the installer said is in the session's log; the rest of the way is in its events.
pub fn with_where_to_look(cause: &str, next_step: &str, session: SessionId) -> String {
    let wrote = ["sync:", "install:", "start:"].iter().any(|phase| cause.starts_with(phase));
    let look = if wrote { format!("alpine logs {session}") } else { format!("alpine events {session}") };
    match next_step {
        "" => format!("see {look}"),
        next if next.contains(&look) => next.to_owned(),
        next => format!("{next}; see {look}"),
    }
}

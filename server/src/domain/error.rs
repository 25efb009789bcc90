//! Refusals, free of transport: a public cause, and what the caller can do. Details stay in the logs.

use std::borrow::Cow;

use super::lifetime::TooLong;
use alpine_api::{Branch, BranchError, ErrorCode, Failure, OperationId, RepoUrlError, Scope, SessionId, SessionState, lifetime_shown};

/// Why the domain refuses a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("session is owned by another principal")]
    NotOwner,
    #[error("listing every owner's sessions needs the role alpine.admin")]
    NotAdmin,
    /// The caller's token is good for less than this.
    #[error("the token lacks the scope {0}")]
    ScopeMissing(Scope),
    /// The caller has shown an access token where signing in is asked for.
    #[error("tokens are made after signing in")]
    SignInRequired,
    #[error("this needs the role {0}")]
    RoleMissing(&'static str),
    /// A page of another site asks with the browser's credential.
    #[error("the request comes from a page of another site")]
    CrossSite,
    /// Where tenants are made by operators only.
    #[error("the tenant is not known here")]
    TenantUnknown,
    #[error("session not found")]
    SessionNotFound,
    #[error("the tenant exists, with other limits")]
    TenantExists,
    /// What is not there.
    #[error("{0} not found")]
    NotFound(&'static str),
    #[error("operation not found")]
    OperationNotFound,
    #[error("session has no record")]
    NoRecord,
    #[error("branch is required")]
    BranchRequired,
    #[error("invalid branch name")]
    InvalidBranch,
    #[error("invalid repository URL")]
    InvalidRepoUrl(RepoUrlError),
    /// By the operator's lists.
    #[error("repositories of this host are not taken here")]
    HostDenied,
    #[error("the repository's host is not on the public internet")]
    HostPrivate,
    #[error("repository credentials are missing")]
    RepoAuthMissing,
    /// An SSH remote, for which no deploy key is stored.
    #[error("no deploy key is stored for this host")]
    DeployKeyMissing,
    /// A secret over a connection that others can read.
    #[error("secrets are not taken over plain HTTP")]
    PlainHttp,
    /// An owner has as many as one may have.
    #[error("there are {0} of {0} stored credentials")]
    TooManyCredentials(i64),
    #[error("client-request-id was reused with different request parameters")]
    KeyReused { first: OperationId },
    #[error("the session of this client-request-id is over")]
    SessionOver { operation: OperationId },
    #[error("session is stopped but not persisted")]
    NotPersisted { operation: Option<OperationId> },
    #[error("session has failed and left nothing to stop")]
    AlreadyFailed { operation: OperationId },
    /// What is used, and of how much.
    #[error("{0}")]
    QuotaExceeded(String),
    /// Of access tokens that are good now.
    #[error("the principal has {used} of {limit} access tokens")]
    TooManyTokens { used: i64, limit: i64 },
    /// Which entry of a session of another ledger cannot be taken, and why.
    #[error("{0}")]
    NotImportable(String),
    #[error("this session was imported before, as {session}, with other contents")]
    ImportedOtherwise { session: SessionId },
    #[error("session is {state}, and only a ready one has a lifetime")]
    NotReady { state: SessionState },
    #[error("session is {state}, and only a ready one can be opened")]
    NotOpen { state: SessionState },
    /// No server here gives it a host of its own, or none did when it began.
    #[error("session has no address below this server's domain of apps")]
    NoApp,
    /// Of a session.
    #[error("the session is shared {used} times, of {limit}")]
    TooManyShares { used: i64, limit: i64 },
    /// A link that was good once.
    #[error("this link is good no more")]
    ShareOver,
    #[error("this link is for people who are named in it")]
    ShareNamed,
    #[error(transparent)]
    TooLong(TooLong),
    #[error("an idle timeout is at most {} here", lifetime_shown(*most))]
    IdleTooLong { most: i32 },
    /// Sessions have no hosts of their own.
    #[error("nobody can tell here whether a session is used")]
    UsesUnseen,
    #[error("there is no such class here{}", if known.is_empty() { String::new() } else { format!("; there are {}", known.join(", ")) })]
    NoSuchClass { known: Vec<String> },
    #[error("session cannot go from {from} to {to}")]
    IllegalTransition { from: SessionState, to: SessionState },
}

impl From<TooLong> for Fault {
    fn from(error: TooLong) -> Self {
        Self::TooLong(error)
    }
}

impl From<BranchError> for Fault {
    fn from(error: BranchError) -> Self {
        match error {
            BranchError::Missing => Self::BranchRequired,
            BranchError::Invalid => Self::InvalidBranch,
        }
    }
}

impl From<RepoUrlError> for Fault {
    fn from(error: RepoUrlError) -> Self {
        Self::InvalidRepoUrl(error)
    }
}

impl Fault {
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotOwner | Self::NotAdmin => ErrorCode::SessionForbidden,
            Self::ScopeMissing(_)
            | Self::SignInRequired
            | Self::RoleMissing(_)
            | Self::CrossSite
            | Self::TenantUnknown
            | Self::ShareOver
            | Self::ShareNamed
            | Self::PlainHttp => ErrorCode::Forbidden,
            Self::NotFound(_) => ErrorCode::NotFound,
            Self::SessionNotFound | Self::OperationNotFound | Self::NoRecord => ErrorCode::SessionNotFound,
            Self::BranchRequired => ErrorCode::BranchRequired,
            Self::InvalidBranch => ErrorCode::InvalidBranch,
            Self::InvalidRepoUrl(_) | Self::HostDenied | Self::HostPrivate => ErrorCode::InvalidRepoUrl,
            Self::RepoAuthMissing | Self::DeployKeyMissing => ErrorCode::RepoAuthMissing,
            Self::NotImportable(_) | Self::TooLong(_) | Self::IdleTooLong { .. } | Self::NoSuchClass { .. } => ErrorCode::InvalidRequest,
            Self::TenantExists
            | Self::KeyReused { .. }
            | Self::SessionOver { .. }
            | Self::AlreadyFailed { .. }
            | Self::ImportedOtherwise { .. }
            | Self::NotReady { .. }
            | Self::NotOpen { .. }
            | Self::NoApp
            | Self::UsesUnseen
            | Self::IllegalTransition { .. } => ErrorCode::OperationConflict,
            Self::NotPersisted { .. } => ErrorCode::PersistenceVerificationFailed,
            Self::QuotaExceeded(_) | Self::TooManyTokens { .. } | Self::TooManyShares { .. } | Self::TooManyCredentials(_) => {
                ErrorCode::QuotaExceeded
            }
        }
    }

    #[must_use]
    pub fn next_step(&self) -> Cow<'static, str> {
        let next = match self {
            Self::NotOwner => "ask the session's owner or an admin of your tenant",
            Self::NotAdmin => "list your own sessions, or ask an admin of your tenant",
            Self::ScopeMissing(scope) => {
                return format!("use a token with that scope: alpine token create --name <name> --scope {scope}").into();
            }
            Self::SignInRequired => "sign in, and send no access token: unset ALPINE_TOKEN",
            Self::RoleMissing(_) => "ask somebody who has that role",
            Self::CrossSite => "enter the address in the browser yourself, or send a token as `Authorization: Bearer <token>`",
            Self::TenantUnknown => "ask an operator to make your tenant known",
            Self::TenantExists => "change its limits with alpine tenant set",
            Self::NotFound(_) => "check the id, and that it is yours",
            Self::SessionNotFound | Self::OperationNotFound => "check the id with alpine list",
            Self::NoRecord => "a record exists once the session is stopped; run alpine status",
            Self::BranchRequired => "give --branch <branch>",
            Self::InvalidBranch => "give a branch name that git accepts",
            Self::InvalidRepoUrl(_) => "give https://host/path or git@host:path, without user info, query or fragment",
            Self::HostDenied => "give a repository on another host, or ask an operator which are taken",
            Self::HostPrivate => "give a host on the public internet; an operator may allow others (ALPINE_GIT_ALLOW_HOSTS)",
            Self::RepoAuthMissing => {
                "set GITHUB_TOKEN or GH_TOKEN, store a token with alpine credential set, or pass --public for a public repository"
            }
            Self::DeployKeyMissing => "store one with alpine credential set <host> --deploy-key, or give the repository's https:// URL",
            Self::PlainHttp => {
                "use the server's https:// address; behind a proxy that terminates TLS an operator sets ALPINE_BEHIND_TLS_PROXY=true"
            }
            Self::TooManyCredentials(_) => "remove one with alpine credential rm <credential-id>",
            Self::KeyReused { .. } | Self::SessionOver { .. } => "use a new client-request-id",
            Self::NotPersisted { .. } => "run alpine down <session-id> --retry-persist",
            Self::AlreadyFailed { .. } => "run alpine up with a new client-request-id",
            Self::QuotaExceeded(_) => "stop a session with alpine down <session-id>, or ask an operator for more",
            Self::TooManyTokens { .. } => "revoke one with alpine token revoke <token-id>; alpine token list shows them",
            Self::NotImportable(_) => "correct that entry; docs/import.md has the form",
            Self::ImportedOtherwise { .. } => "nothing is overwritten: compare with alpine status <session-id>",
            Self::TooManyShares { .. } => "take one back with alpine unshare; alpine shares <session-id> shows them",
            Self::ShareOver => "ask whoever shared the session for another",
            Self::ShareNamed => "open it with alpine open and this link in quotes",
            Self::NoApp => {
                "open the address that alpine status <session-id> shows; ports and shares are of sessions that began with hosts of their own \
                 (ask an operator for ALPINE_APPS_DOMAIN)"
            }
            Self::NotReady { .. } | Self::NotOpen { .. } | Self::IllegalTransition { .. } => "run alpine status <session-id>",
            Self::NoSuchClass { .. } => "choose one that alpine classes shows, or leave it out",
            Self::IdleTooLong { .. } => "ask for a shorter one, or leave it out",
            Self::UsesUnseen => "leave the idle timeout out, or ask an operator for hosts of sessions (ALPINE_APPS_DOMAIN)",
            Self::TooLong(_) => "ask for a shorter one; alpine extend gives the session as much again later",
        };
        next.into()
    }

    #[must_use]
    pub const fn operation(&self) -> Option<OperationId> {
        match self {
            Self::KeyReused { first: id } | Self::SessionOver { operation: id } | Self::AlreadyFailed { operation: id } => Some(*id),
            Self::NotPersisted { operation } => *operation,
            _ => None,
        }
    }
}

/// Failures that operations end with. One place, so that the words stay the same.
pub mod failure {
    use super::{Branch, ErrorCode, Failure, Fault};

    const RETRY_UP: &str = "run alpine up again with a NEW client-request-id";

    fn up(code: ErrorCode, cause: String) -> Failure {
        Failure { error_code: code, cause, next_step: RETRY_UP.into(), retryable: code.retryable() }
    }

    #[must_use]
    pub fn branch_absent(branch: &Branch) -> Failure {
        let cause = format!("branch {branch} does not exist on the remote");
        after("check the branch's name (git ls-remote --heads <repo-url> shows all)", step("resolve", &cause))
    }

    /// A step of `up` failed; the cause begins with the step's name.
    #[must_use]
    pub fn step(step: &str, cause: &str) -> Failure {
        up(ErrorCode::SandboxProvisionFailed, format!("{step}: {cause}"))
    }

    /// The same, of which the caller does something before the next try.
    #[must_use]
    pub fn after(first: &str, failure: Failure) -> Failure {
        Failure { next_step: format!("{first}, then {}", failure.next_step), ..failure }
    }

    /// What was there when the `up` was accepted has been removed since.
    #[must_use]
    pub fn credential_gone(fault: &Fault) -> Failure {
        Failure { next_step: fault.next_step().into(), ..up(fault.code(), fault.to_string()) }
    }

    #[must_use]
    pub fn deadline(step: &str, seconds: u64) -> Failure {
        up(ErrorCode::DeadlineExceeded, format!("{step}: not done within {seconds} s"))
    }

    /// A session that was ready has lost its sandbox; how that shows.
    #[must_use]
    pub fn sandbox_lost(found: &str) -> Failure {
        up(ErrorCode::SandboxProvisionFailed, format!("lost: {found}"))
    }

    /// Nothing that runs here can go on with it.
    #[must_use]
    pub fn unreadable() -> Failure {
        up(ErrorCode::Internal, "the operation is of a version that no worker here can carry on".into())
    }

    #[must_use]
    pub fn cancelled() -> Failure {
        Failure {
            error_code: ErrorCode::OperationConflict,
            cause: "cancelled by down".into(),
            next_step: RETRY_UP.into(),
            retryable: false,
        }
    }

    #[must_use]
    pub fn not_stopped(cause: &str) -> Failure {
        Failure {
            error_code: ErrorCode::Unavailable,
            cause: format!("stop: {cause}"),
            next_step: "run alpine down <session-id> again".into(),
            retryable: true,
        }
    }

    #[must_use]
    pub fn not_cleaned(cause: &str) -> Failure {
        Failure {
            error_code: ErrorCode::SandboxProvisionFailed,
            cause: format!("cleanup: {cause}"),
            next_step: "nothing to do: the control plane goes on trying to remove the sandbox".into(),
            retryable: true,
        }
    }

    /// The record could not be stored, or was not proved to be, or what it was stored for could not be removed. The code says which way.
    #[must_use]
    pub fn not_persisted(code: ErrorCode, step: &str, cause: &str) -> Failure {
        Failure {
            error_code: code,
            cause: format!("{step}: {cause}"),
            next_step: "run alpine down <session-id> --retry-persist".into(),
            retryable: true,
        }
    }
}

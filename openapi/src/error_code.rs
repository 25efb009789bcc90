//! The error catalogue: wire value, metric label, docs anchor and CLI exit code in one place.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! catalogue {
    // The wire value is a `tt`: a `literal` would come to utoipa in a group, which it does not read as a name.
    ($($(#[$doc:meta])* $variant:ident = $wire:tt, $status:literal, $exit:literal, $retryable:literal, $title:literal;)*) => {
        /// What went wrong, for programs. The set only grows: of a code that you do not know, `retryable` and the status say enough.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $wire)] $variant,)*
        }

        impl ErrorCode {
            /// The whole catalogue, in its documented order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $wire,)* }
            }

            /// The HTTP status this code has unless its case says otherwise.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// 1: the caller can fix it. 2: the system failed.
            #[must_use]
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$variant => $exit,)* }
            }

            /// Whether the same request may succeed later, unless its case says otherwise.
            #[must_use]
            pub const fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)* }
            }

            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

catalogue! {
    /// No principal can be derived from the request.
    CallerIdentityRequired = "ERR_CALLER_IDENTITY_REQUIRED", 401, 1, false, "Caller identity required";
    /// The principal may not do this to that session.
    SessionForbidden = "ERR_SESSION_FORBIDDEN", 403, 1, false, "Session forbidden";
    /// The caller's roles, or the scopes of its token, do not allow it.
    Forbidden = "ERR_FORBIDDEN", 403, 1, false, "Forbidden";
    /// There is no such session or operation for this tenant.
    SessionNotFound = "ERR_SESSION_NOT_FOUND", 404, 1, false, "Session not found";
    /// There is no such token, credential or tenant for this caller.
    NotFound = "ERR_NOT_FOUND", 404, 1, false, "Not found";
    /// No branch was given.
    BranchRequired = "ERR_BRANCH_REQUIRED", 400, 1, false, "Branch required";
    /// The branch breaks git's naming rules.
    InvalidBranch = "ERR_INVALID_BRANCH", 422, 1, false, "Invalid branch";
    /// The repository URL is not one that Alpine clones.
    InvalidRepoUrl = "ERR_INVALID_REPO_URL", 422, 1, false, "Invalid repository URL";
    /// The request is not of its form.
    InvalidRequest = "ERR_INVALID_REQUEST", 400, 1, false, "Invalid request";
    /// The repository needs credentials and none were given.
    RepoAuthMissing = "ERR_REPO_AUTH_MISSING", 422, 1, false, "Repository credentials missing";
    /// The request contradicts an operation that exists.
    OperationConflict = "ERR_OPERATION_CONFLICT", 409, 1, false, "Operation conflict";
    /// The sandbox could not be made ready.
    SandboxProvisionFailed = "ERR_SANDBOX_PROVISION_FAILED", 502, 2, true, "Sandbox provisioning failed";
    /// The session's record is not stored and verified.
    PersistenceVerificationFailed = "ERR_PERSISTENCE_VERIFICATION_FAILED", 409, 1, true, "Persistence verification failed";
    /// The session's record does not fit even after compaction.
    PersistPayloadTooLarge = "ERR_PERSIST_PAYLOAD_TOO_LARGE", 409, 2, true, "Record too large";
    /// The command was replaced by another (CLI only).
    CommandReplaced = "ERR_COMMAND_REPLACED", 400, 1, false, "Command replaced";
    /// The caller stopped waiting; what was accepted goes on (CLI only).
    Interrupted = "ERR_INTERRUPTED", 400, 1, true, "Interrupted";
    /// A quota of the tenant or the principal is used up.
    QuotaExceeded = "ERR_QUOTA_EXCEEDED", 429, 1, true, "Quota exceeded";
    /// Too many requests in a short time.
    RateLimited = "ERR_RATE_LIMITED", 429, 1, true, "Rate limited";
    /// The control plane, or a part it needs, cannot answer now.
    Unavailable = "ERR_UNAVAILABLE", 503, 2, true, "Unavailable";
    /// The operation did not end within its deadline.
    DeadlineExceeded = "ERR_DEADLINE_EXCEEDED", 504, 2, true, "Deadline exceeded";
    /// A fault of the control plane itself.
    Internal = "ERR_INTERNAL", 500, 2, true, "Internal error";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_the_wire_values() {
        let schema = serde_json::to_value(<ErrorCode as utoipa::PartialSchema>::schema()).unwrap();
        assert_eq!(schema["enum"], serde_json::to_value(ErrorCode::ALL).unwrap());
    }

    #[test]
    fn the_wire_value_is_the_serde_value() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!(code.as_str().starts_with("ERR_"));
            assert!((400..600).contains(&code.http_status()));
            assert!(matches!(code.exit_code(), 1 | 2));
        }
    }
}

//! Waiting for an operation to end, in silence for scripts, a line a phase for people.

use std::time::{Duration, Instant};

use alpine_api::{ErrorCode, OperationStatus, SessionState};

use crate::{
    Context,
    client::{Client, ClientError, Patience},
    error::CliError,
    ui::elapsed,
    wire::{Failure, Operation, Word},
};

const PROGRESS_PAUSE: Duration = Duration::from_millis(300);
/// A server that does not hold answers back is not asked more often than this.
const LEAST_PAUSE: Duration = Duration::from_millis(250);

/// The operation, ended well; otherwise its error.
pub async fn until_done(context: &Context, client: &Client, operation: Operation) -> Result<Operation, CliError> {
    context.waits_for(operation.session_id, operation.operation_id);
    let operation = if operation.has_ended() {
        operation
    } else if context.ui.shows_progress() {
        context.ui.info(&format!("{} (Ctrl-C leaves it running)", operation.session_id));
        let mut progress = Progress { context, client, operation: &operation, after: 0 };
        let ended = tokio::select! {
            ended = follow(context, client, &operation) => ended?,
            never = progress.run() => match never {},
        };
        // The last phases may have come between two looks.
        progress.look().await;
        ended
    } else {
        follow(context, client, &operation).await?
    };
    outcome(operation)
}

async fn follow(context: &Context, client: &Client, operation: &Operation) -> Result<Operation, ClientError> {
    loop {
        let asked = Instant::now();
        let seen = client.operation(&context.ui, operation.operation_id).await?;
        if seen.has_ended() {
            return Ok(seen);
        }
        tokio::time::sleep(LEAST_PAUSE.saturating_sub(asked.elapsed())).await;
    }
}

/// A failure of the operation is the command's.
pub fn outcome(operation: Operation) -> Result<Operation, CliError> {
    let failure = match (operation.status.known(), operation.error) {
        (Some(OperationStatus::Succeeded), _) => return Ok(Operation { error: None, ..operation }),
        (_, Some(failure)) => failure,
        (Some(OperationStatus::Cancelled), None) => Failure {
            error_code: Word::Known(ErrorCode::OperationConflict),
            cause: "the operation was cancelled".to_owned(),
            next_step: format!("run alpine status {}", operation.session_id),
            retryable: false,
        },
        (_, None) => Failure {
            error_code: Word::Known(ErrorCode::Internal),
            cause: "the operation failed".to_owned(),
            next_step: format!("run alpine events {}", operation.session_id),
            retryable: true,
        },
    };
    Err(CliError::Operation { failure, operation_id: operation.operation_id })
}

struct Progress<'a> {
    context: &'a Context,
    client: &'a Client,
    operation: &'a Operation,
    after: i64,
}

enum Never {}

impl Progress<'_> {
    async fn run(&mut self) -> Never {
        loop {
            self.look().await;
            tokio::time::sleep(PROGRESS_PAUSE).await;
        }
    }

    /// Says what is new. That nothing could be seen is not worth a word: the wait itself goes on.
    async fn look(&mut self) {
        let Ok(page) = self.client.events(&self.context.ui, self.operation.session_id, self.after, Patience::Ask).await else { return };
        self.after = self.after.max(page.next_after);
        for event in page.events.iter().filter(|event| event.operation_id == self.operation.operation_id) {
            self.context.ui.info(&phase_line(&elapsed(event.at - self.operation.created_at), &event.to_state));
        }
    }
}

fn phase_line(time: &str, state: &Word<SessionState>) -> String {
    let words = match state.known() {
        Some(SessionState::Requested) => "accepted",
        Some(SessionState::Provisioning) => "making the sandbox",
        Some(SessionState::RepoSyncing) => "cloning the repository",
        Some(SessionState::Installing) => "installing dependencies",
        Some(SessionState::Ready) => "ready",
        Some(SessionState::Failing) => "failed; cleaning up",
        Some(SessionState::Failed) => "cleaned up",
        Some(SessionState::CleanupFailed) => "could not clean up yet",
        Some(SessionState::Stopping) => "stopping",
        Some(SessionState::CloseFailed) => "did not stop",
        Some(SessionState::Persisting) => "storing and verifying the record",
        Some(SessionState::PersistFailed | SessionState::StoppedUnpersisted) => "the record is not stored",
        Some(SessionState::Stopped) => "stopped",
        None => return format!("{time:>12}  {}", crate::ui::clean(&state.to_string())),
    };
    format!("{time:>12}  {words}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn every_phase_has_its_line() {
        let lines: Vec<_> = SessionState::ALL.iter().map(|state| phase_line("1.2 s", &Word::Known(*state))).collect();
        insta::assert_snapshot!(lines.join("\n"));
        assert_eq!(phase_line("1.2 s", &Word::Other("defrosting\u{1b}".to_owned())), "       1.2 s  defrosting\u{fffd}");
    }

    #[test]
    fn an_operation_that_did_not_succeed_is_an_error_with_its_exit_code() {
        let ended = |status, error| {
            let operation = Operation { status: Word::Known(status), error, ..testing::operation() };
            outcome(operation).map_err(|error| error.report())
        };
        let failure = |code: &str| serde_json::from_value(serde_json::json!({"error_code": code, "cause": "c"})).ok();
        assert!(ended(OperationStatus::Succeeded, None).is_ok());
        let codes = [
            (ended(OperationStatus::Failed, failure("ERR_SANDBOX_PROVISION_FAILED")), "ERR_SANDBOX_PROVISION_FAILED", 2),
            (ended(OperationStatus::Failed, failure("ERR_PERSISTENCE_VERIFICATION_FAILED")), "ERR_PERSISTENCE_VERIFICATION_FAILED", 1),
            (ended(OperationStatus::Failed, failure("ERR_FROM_TOMORROW")), "ERR_FROM_TOMORROW", 2),
            (ended(OperationStatus::Failed, None), "ERR_INTERNAL", 2),
            (ended(OperationStatus::Cancelled, None), "ERR_OPERATION_CONFLICT", 1),
        ];
        for (report, code, exit) in codes {
            let report = report.unwrap_err();
            assert_eq!((report.error_code.to_string().as_str(), report.exit_code), (code, exit));
            assert_eq!(report.operation_id, Some(testing::operation().operation_id));
        }
    }
}

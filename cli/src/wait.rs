//! Waiting for an operation to end, in silence for scripts, a line a phase for people.

mod progress;
mod show;

use std::time::{Duration, Instant};

use alpine_api::{ErrorCode, OperationStatus};

pub use self::show::LOST;
use crate::{
    Context,
    client::{Client, ClientError},
    error::CliError,
    wire::{Failure, Operation, Word},
};

/// A server that does not hold answers back is not asked more often than this.
const LEAST_PAUSE: Duration = Duration::from_millis(250);

/// The operation, ended well; otherwise its error.
pub async fn until_done(context: &Context, client: &Client, operation: Operation) -> Result<Operation, CliError> {
    let (session_id, operation_id) = (operation.session_id, operation.operation_id);
    context.waits_for(session_id, operation_id);
    let seen = if operation.has_ended() {
        Ok(operation)
    } else if context.ui.shows_progress() {
        show::alongside(context, client, &operation, follow(context, client, &operation)).await
    } else {
        follow(context, client, &operation).await
    };
    // An interrupt from now on leaves nothing running.
    context.waits_no_more();
    outcome(seen.map_err(|source| CliError::Waiting { source: Box::new(source), session_id, operation_id })?)
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
    Err(CliError::Operation { failure, session_id: operation.session_id, operation_id: operation.operation_id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

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

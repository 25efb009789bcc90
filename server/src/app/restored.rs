//! What operators ask of a ledger that was brought back from a backup.

use super::AppError;
use crate::{config::DatabaseArgs, ledger};

/// Fences, leases and deadlines as a restored ledger needs them; what was done.
pub async fn after_restore(args: &DatabaseArgs) -> Result<String, AppError> {
    let ledger::Restored { leases, operations, tenants, newest } = ledger::after_restore(&args.database_url).await?;
    let newest = newest.map_or_else(|| "is empty".to_owned(), |at| format!("is of {at}"));
    Ok(format!("the ledger {newest}: {leases} fences raised, {operations} operations go on, told in {tenants} audit logs"))
}

/// What there is, if it is whole.
pub async fn verify_ledger(args: &DatabaseArgs) -> Result<String, AppError> {
    let found = ledger::verify(&args.database_url).await?;
    if found.faults.is_empty() { Ok(format!("whole: {found}")) } else { Err(AppError::NotWhole { faults: found.faults }) }
}

//! Audit logs as the database has them.

use alpine_api::AuditEntry;
use serde_json::Value;

use crate::db::Db;

/// A tenant's log in its order.
pub async fn log(db: &Db, tenant: &str) -> Vec<AuditEntry> {
    let sql = format!(
        r#"SELECT coalesce(jsonb_agg(jsonb_build_object('tenant', tenant_id, 'seq', seq,
                'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'actor', actor, 'actor_tenant', actor_tenant,
                'action', action, 'outcome', outcome, 'target', target, 'owner', owner, 'reason', reason, 'request_id', request_id,
                'prev_hash', encode(prev_hash, 'hex'), 'hash', encode(hash, 'hex')) ORDER BY seq), '[]')
           FROM audit_log WHERE tenant_id = '{tenant}'"#
    );
    serde_json::from_value(db.one::<Value>(&sql).await).unwrap()
}

/// Every entry is in its place, of its content, and follows the one before; their number.
pub fn assert_whole(log: &[AuditEntry]) -> usize {
    let mut last = "";
    for (entry, seq) in log.iter().zip(1..) {
        assert_eq!((entry.seq, entry.prev_hash.as_str(), entry.digest()), (seq, last, entry.hash.clone()), "{entry:?}");
        last = &entry.hash;
    }
    log.len()
}

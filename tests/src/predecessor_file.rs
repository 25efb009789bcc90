//! A predecessor's ledger, made for a test: sessions of every state, a little while ago.

use alpine_api::SessionState::{self, *};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};

const TO_READY: &[SessionState] = &[Requested, Provisioning, RepoSyncing, Installing, Ready];

/// The way to a state, as the predecessor went it.
pub fn way(state: SessionState) -> Vec<SessionState> {
    let ready = |more: &[SessionState]| [TO_READY, more].concat();
    match state {
        Requested | Provisioning | RepoSyncing | Installing | Ready => {
            let end = TO_READY.iter().position(|own| *own == state).unwrap();
            TO_READY[..=end].to_vec()
        }
        Failing => vec![Requested, Provisioning, Failing],
        Failed => vec![Requested, Provisioning, Failing, Failed],
        CleanupFailed => vec![Requested, Failing, CleanupFailed],
        Stopping => ready(&[Stopping]),
        CloseFailed => ready(&[Stopping, CloseFailed]),
        Persisting => ready(&[Stopping, Persisting]),
        PersistFailed => ready(&[Stopping, Persisting, PersistFailed]),
        StoppedUnpersisted => ready(&[Stopping, StoppedUnpersisted]),
        Stopped => ready(&[Stopping, Persisting, Stopped]),
    }
}

pub const ERROR: &str = "install: npm ci exited with 1";

/// A ledger that grows.
#[derive(Debug)]
pub struct File {
    pub json: Value,
    begun: DateTime<Utc>,
}

impl File {
    /// Its sessions began this long ago.
    #[expect(clippy::disallowed_methods, reason = "what is imported is of the past")]
    pub fn of(ago: TimeDelta) -> Self {
        let json = json!({
            "schema_version": "v1", "sessions": {}, "operations": {}, "transitions": {}, "records": {}, "idempotency_keys": {},
        });
        Self { json, begun: Utc::now() - ago }
    }

    pub fn at(&self, second: i64) -> String {
        (self.begun + TimeDelta::seconds(second)).to_rfc3339_opts(SecondsFormat::Nanos, true)
    }

    pub fn part(&mut self, name: &str) -> &mut Map<String, Value> {
        self.json[name].as_object_mut().unwrap()
    }

    /// A session in this state with its `up`, its `down`, its history, its record if it is stopped, and a key.
    pub fn session(&mut self, id: &str, owner: &str, state: SessionState) {
        let states = way(state);
        let last = i64::try_from(states.len()).unwrap() - 1;
        let (up, down) = (format!("{id}-up"), format!("{id}-down"));
        let of_down =
            |state: SessionState| matches!(state, Stopping | CloseFailed | Persisting | PersistFailed | StoppedUnpersisted | Stopped);
        let error = json!({"error_code": "ERR_SANDBOX_PROVISION_FAILED", "cause": ERROR, "next_step": "use a new id", "retryable": true});
        let failed = matches!(state, Failing | Failed | CleanupFailed);
        let steps: Vec<_> = states
            .iter()
            .zip(0..)
            .map(|(to, second)| {
                let of = if of_down(*to) { &down } else { &up };
                json!({"seq": second + 1, "to_state": to, "at": self.at(second), "actor": owner, "reason": format!("went to {to}"), "operation_id": of})
            })
            .collect();
        let begun = self.at(0);
        let mut session = json!({
            "session_id": id, "owner_principal_id": owner, "repo_url": crate::REPO, "branch": "main", "public": true, "state": state,
            "created_at": begun, "updated_at": self.at(last), "ready_at": "0001-01-01T00:00:00Z",
        });
        let status = if failed { "failed" } else { "succeeded" };
        let mut operation = json!({"operation_id": up, "session_id": id, "kind": "up", "status": status, "actor": owner, "created_at": begun, "finished_at": self.at(4)});
        if failed {
            session["last_error"] = error.clone();
            operation["error"] = error;
        }
        self.part("operations").insert(up.clone(), operation);
        if of_down(state) {
            let begun = self.at(5);
            let operation =
                json!({"operation_id": down, "session_id": id, "kind": "down", "status": "succeeded", "actor": owner, "created_at": begun});
            self.part("operations").insert(down, operation);
        }
        if state == Stopped {
            let record = self.record(id, owner, &steps);
            // Read from another clock.
            session["persisted_at"] = self.at(last + 1).into();
            self.part("records").insert(id.to_owned(), record);
        }
        self.part("transitions").insert(id.to_owned(), steps.into());
        // What was saved as its answer says that all went well, whatever came of it.
        let answer = json!({"operation_id": up, "response": {"state": "ready"}});
        self.part("idempotency_keys").insert(format!("up:{owner}:key:{id}"), answer);
        self.part("sessions").insert(id.to_owned(), session);
    }

    fn record(&self, id: &str, owner: &str, steps: &[Value]) -> Value {
        json!({
            "schema_version": "v1", "session_id": id, "principal_id": owner, "repo_url": crate::REPO, "branch": "main",
            "state": "stopped", "state_transitions": steps, "started_at": self.at(0), "stopped_at": self.at(6), "persisted_at": self.at(7),
            "operation_history": [], "last_error": null, "history_truncated": false,
        })
    }
}

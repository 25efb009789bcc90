//! The checks of what callers were told, on a journal of real answers.

use alpine_api::OperationId;
use alpine_tests::{
    World,
    api::Reply,
    cli::text,
    git_server::url,
    invariants::{self, Answer},
};
use serde_json::{Value, json};
use sqlx::Connection;

use crate::{LIMIT, caught, connect, execute, shown};

/// A lie in the journal, or in the ledger.
pub struct Mutant {
    pub check: &'static str,
    told: fn(&mut Vec<Answer>),
    ledger: &'static str,
}

const FINAL_IS_OPEN: &str = "ALTER TABLE operations DISABLE TRIGGER operations_final;";
/// Where in the journal these answers are.
const READY: usize = 1;
const READY_AGAIN: usize = 2;
const FAILED: usize = 4;
const FAILED_AGAIN: usize = 5;
const DOWN_AGAIN: usize = 7;

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        check: "success_is_told_of_successes_only",
        told: |_| {},
        ledger: "UPDATE operations SET status = 'failed', error = '{}' WHERE kind = 'up' AND status = 'succeeded'",
    },
    Mutant { check: "success_is_told_of_successes_only", told: |journal| journal[FAILED].status = 200, ledger: "" },
    Mutant { check: "failure_is_the_operations_own", told: |journal| journal[FAILED].body["cause"] = json!("bad luck"), ledger: "" },
    Mutant {
        check: "failure_is_the_operations_own",
        told: |_| {},
        ledger: "UPDATE operations SET error = jsonb_set(error, '{cause}', '\"bad luck\"') WHERE status = 'failed'",
    },
    Mutant { check: "replays_are_equal", told: |journal| journal[READY_AGAIN].body["phase"] = json!("install"), ledger: "" },
    Mutant { check: "replays_are_equal", told: |journal| journal[FAILED_AGAIN].body["title"] = json!("Other"), ledger: "" },
    Mutant { check: "replays_are_equal", told: |journal| journal[FAILED_AGAIN].status = 500, ledger: "" },
    Mutant { check: "replays_are_equal", told: |journal| journal[DOWN_AGAIN].body["persisted_at"] = Value::Null, ledger: "" },
    Mutant {
        check: "one_key_is_told_one_operation",
        told: |journal| journal[READY_AGAIN].operation_id = journal[FAILED].operation_id.clone(),
        ledger: "",
    },
    Mutant {
        check: "told_operations_exist",
        told: |journal| journal[READY].operation_id = Some(OperationId::generate().to_string()),
        ledger: "",
    },
    Mutant {
        check: "told_operations_exist",
        told: |journal| journal[DOWN_AGAIN].session_id = journal[READY].session_id.clone(),
        ledger: "",
    },
    Mutant {
        check: "acknowledged_keys_exist_once",
        told: |_| {},
        ledger: "ALTER TABLE idempotency_keys DISABLE TRIGGER idempotency_keys_kept; DELETE FROM idempotency_keys WHERE key = 'ready'",
    },
    Mutant {
        check: "acknowledged_keys_exist_once",
        told: |_| {},
        ledger: "ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_pkey;
                 INSERT INTO idempotency_keys SELECT * FROM idempotency_keys WHERE key = 'ready'",
    },
];

fn answer(key: Option<&str>, reply: &Reply) -> Answer {
    let named = |member: &str| reply.body[member].as_str().map(str::to_owned);
    Answer {
        tenant: "dev".to_owned(),
        principal: "ann".to_owned(),
        key: key.map(str::to_owned),
        session_id: named("session_id"),
        operation_id: named("operation_id"),
        status: reply.status.as_u16(),
        body: reply.body.clone(),
        asked_at: 0.0,
        answered_at: 0.0,
    }
}

/// Two `up`s and a `down`, each accepted and then told twice how it ended; and refusals, which tell of no end.
async fn journal(world: &World) -> Vec<Answer> {
    world.git.with_files("org/broken", &[(".alpine.toml", "install = \"exit 1\"")]);
    let api = world.api("ann");
    let mut journal = Vec::new();
    for (key, repo, state) in [("ready", "org/repo", "ready"), ("failed", "org/broken", "failed")] {
        let accepted = api.up(key, &url(repo), "main").await;
        world.db.wait_for_state(&text(accepted.expect(202), "session_id"), &[state], LIMIT).await;
        journal.push(answer(Some(key), &accepted));
        for _ in 0..2 {
            journal.push(answer(Some(key), &api.up(key, &url(repo), "main").await));
        }
    }
    let other = text(&world.ready("ann").await, "session_id");
    world.down("ann", &other, &[]).await.ok();
    for _ in 0..2 {
        journal.push(answer(None, &api.down(&other, json!({})).await));
    }
    journal.push(answer(Some("ready"), &api.up("ready", &url("org/repo"), "other").await));
    let failed = journal[FAILED - 1].session_id.clone().unwrap();
    journal.push(answer(None, &api.down(&failed, json!({})).await));
    let statuses: Vec<u16> = journal.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [202, 200, 200, 202, 502, 502, 200, 200, 422, 409]);
    journal
}

#[tokio::test(flavor = "multi_thread")]
async fn what_callers_are_told_wrongly_is_seen() {
    let world = World::start().await;
    let journal = journal(&world).await;
    let mut connection = connect(&world).await;
    let found = invariants::answers(&mut connection, &journal).await.unwrap();
    assert!(found.is_empty(), "{}", shown(&found));
    for (number, mutant) in MUTANTS.iter().enumerate() {
        let mut lie = journal.clone();
        (mutant.told)(&mut lie);
        let mut transaction = connection.begin().await.unwrap();
        if !mutant.ledger.is_empty() {
            execute(&mut transaction, &format!("{FINAL_IS_OPEN} {}", mutant.ledger)).await;
        }
        let found = invariants::answers(&mut transaction, &lie).await.unwrap();
        caught(mutant.check, &format!("mutant {number}: {}", mutant.ledger), &found);
        transaction.rollback().await.unwrap();
    }
}

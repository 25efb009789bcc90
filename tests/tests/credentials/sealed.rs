//! Keys and their rotation, and what the database shows.

use std::{path::PathBuf, process::Stdio};

use alpine_tests::{World, bins, ground::write_secret};
use serde_json::json;

use crate::{OWN, REQUESTS, bare_up, deploy_key, outcome, put, set, up, uuid, world_for};

/// `alpine-server rotate-credentials` with this key and these old ones: exit code, what it said.
fn rotate(world: &World, key: &str, old: &str) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(bins::path("alpine-server"));
    command.arg("rotate-credentials").env_clear().env("DATABASE_URL", &world.db.url).env("ALPINE_CREDENTIAL_KEY_FILE", path(world, key));
    if !old.is_empty() {
        command.env("ALPINE_CREDENTIAL_OLD_KEY_FILES", path(world, old));
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

fn path(world: &World, name: &str) -> PathBuf {
    world.dir.join(name)
}

/// The same server with other keys.
async fn restart(world: &mut World, key: &str, old: Option<&str>) {
    world.server.terminate().await;
    let (key, old) = (path(world, key).display().to_string(), old.map(|old| path(world, old).display().to_string()));
    world.server.configure("ALPINE_CREDENTIAL_KEY_FILE", Some(key));
    world.server.configure("ALPINE_CREDENTIAL_OLD_KEY_FILES", old);
    world.server.start_again().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_without_a_moment_in_which_nothing_opens() {
    let (mut world, repo) = world_for(OWN).await;
    write_secret(&path(&world, "new.key"), &[9; 32]);
    let ann = world.api("ann");
    let id = set(&ann, "me", OWN).await;
    let key_ids =
        "SELECT string_agg(DISTINCT key_id, ',') FROM (SELECT key_id FROM stored_credentials UNION ALL SELECT key_id FROM credentials) k";
    let old_id: String = world.db.one(key_ids).await;
    bare_up(&world, "ann", &repo).await.ok();

    restart(&mut world, "new.key", None).await;
    let refused = bare_up(&world, "ann", &repo).await.refused(2, "ERR_SANDBOX_PROVISION_FAILED");
    let cause = format!("credentials: the credential is sealed with key {old_id}, which this server does not have");
    assert_eq!(refused["cause"], cause);
    let (code, said) = rotate(&world, "new.key", "");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&id) && said.contains(&old_id) && said.contains("tenant dev") && !said.contains(OWN), "{said}");

    restart(&mut world, "new.key", Some("credential.key")).await;
    bare_up(&world, "ann", &repo).await.ok();
    // While an operation waits with a token of its own, and others come and go.
    let (slow, _) = world.git.with_files("org/slow", &[("a", "a\n")]);
    world.git.protect("org/slow", REQUESTS);
    world.git.delay("org/slow", std::time::Duration::from_secs(4));
    let waiting = up(&ann, "waiting", &slow, Some(REQUESTS)).await;
    let others: Vec<_> = (0..3).map(|_| world.up("ann", &repo, "main", &[]).without("GITHUB_TOKEN").spawn()).collect();
    let (code, said) = rotate(&world, "new.key", "credential.key");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("1 secrets sealed anew"), "{said}");
    for other in others {
        other.await.unwrap().ok();
    }
    assert_eq!(outcome(&ann, &waiting).await["status"], "succeeded");
    assert_ne!(world.db.one::<String>(key_ids).await, old_id);
    assert!(rotate(&world, "new.key", "").1.starts_with("0 secrets sealed anew"), "a second time there is nothing to do");

    restart(&mut world, "new.key", None).await;
    bare_up(&world, "ann", &repo).await.ok();
    let log: String = world
        .db
        .one("SELECT string_agg(actor || ' ' || request_id || ' ' || reason, ',') FROM audit_log WHERE action = 'credential.rotate'")
        .await;
    assert_eq!(log, "system rotate 1 sealed anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_requests_are_rotated_too_and_many_are_done_in_batches() {
    let mut world = World::start().await;
    write_secret(&path(&world, "new.key"), &[9; 32]);
    let (slow, _) = world.git.with_files("org/slow", &[("a", "a\n")]);
    world.git.protect("org/slow", REQUESTS);
    world.git.delay("org/slow", std::time::Duration::from_secs(6));
    let ann = world.api("ann");
    let waiting = up(&ann, "waiting", &slow, Some(REQUESTS)).await;
    for tenant in ["dev", "second"] {
        let ann = world.api_of(tenant, "ann", &["alpine.admin"]);
        for n in 0..60 {
            put(&ann, json!({"host": format!("h{n}"), "kind": "token", "token": "t"})).await.expect(201);
            put(&ann, json!({"host": format!("h{n}"), "kind": "token", "owner": "tenant", "token": "t"})).await.expect(201);
        }
    }
    restart(&mut world, "new.key", Some("credential.key")).await;
    let rotating = (0..2).map(|_| {
        let key = (path(&world, "new.key"), path(&world, "credential.key"), world.db.url.clone());
        tokio::task::spawn_blocking(move || {
            let mut command = std::process::Command::new(bins::path("alpine-server"));
            command.arg("rotate-credentials").env_clear().env("DATABASE_URL", key.2);
            command.env("ALPINE_CREDENTIAL_KEY_FILE", key.0).env("ALPINE_CREDENTIAL_OLD_KEY_FILES", key.1);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().parse::<u64>().unwrap()
        })
    });
    let mut resealed = 0;
    for one in rotating.collect::<Vec<_>>() {
        resealed += one.await.unwrap();
    }
    assert_eq!(resealed, 241, "each once, by whichever of the two");
    assert_eq!(outcome(&ann, &waiting).await["status"], "succeeded", "its token was sealed anew on the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_moved_or_changed_in_the_database_does_not_open() {
    let (world, repo) = world_for(OWN).await;
    let id = set(&world.api("ann"), "me", OWN).await;
    let row = format!("WHERE credential_id = '{}'", uuid(&id));
    bare_up(&world, "ann", &repo).await.ok();
    let tampered = |principal: &'static str, repo: String| {
        let world = &world;
        async move {
            let refused = bare_up(world, principal, &repo).await.refused(2, "ERR_SANDBOX_PROVISION_FAILED");
            assert_eq!(refused["cause"], "credentials: the credential is not what was sealed for this place");
        }
    };
    for (change, back, principal, url) in [
        ("sealed = set_byte(sealed, 3, get_byte(sealed, 3) # 1)", "sealed = set_byte(sealed, 3, get_byte(sealed, 3) # 1)", "ann", &repo),
        ("principal_id = 'bob'", "principal_id = 'ann'", "bob", &repo),
        ("principal_id = NULL", "principal_id = 'ann'", "bob", &repo),
        ("host = 'evil.example'", "host = 'github.com'", "ann", &"https://evil.example/o/r".to_owned()),
        ("credential_id = gen_random_uuid()", "", "ann", &repo),
    ] {
        assert_eq!(world.db.execute(&format!("UPDATE stored_credentials SET {change} {row}")).await, 1);
        tampered(principal, url.clone()).await;
        if !back.is_empty() {
            world.db.execute(&format!("UPDATE stored_credentials SET {back} {row}")).await;
            bare_up(&world, "ann", &repo).await.ok();
        }
    }
    // To another tenant, where there is somebody of the same name.
    world.db.execute("UPDATE stored_credentials SET tenant_id = 'other'").await;
    let other = world.api_of("other", "ann", &[]);
    let moved = outcome(&other, &up(&other, "k", &repo, None).await).await;
    assert_eq!(moved["error"]["cause"], "credentials: the credential is not what was sealed for this place");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_the_database_and_the_apis_role_cannot_read_what_is_sealed() {
    let (world, _) = world_for(OWN).await;
    let ann = world.api("ann");
    set(&ann, "me", OWN).await;
    let (private_key, known_hosts) = deploy_key(&world);
    put(&ann, json!({"host": "github.com", "kind": "deploy_key", "private_key": private_key, "known_hosts": known_hosts}))
        .await
        .expect(201);
    let (slow, _) = world.git.with_files("org/slow", &[("a", "a\n")]);
    world.git.delay("org/slow", std::time::Duration::MAX);
    up(&ann, "k", &slow, Some(REQUESTS)).await.expect(202);
    assert_eq!(world.db.count("credentials").await, 1);

    let everything = "SELECT string_agg(convert_from(convert_to(query_to_xml(format('SELECT * FROM %I', table_name), true, true, '')::text, 'UTF8'), 'UTF8'), '')
        FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'";
    let dump: String = world.db.one(everything).await;
    assert!(dump.contains("github.com") && dump.contains("credential.set"), "a control: the dump has what is no secret");
    let middle = private_key.lines().nth(2).unwrap();
    for secret in [OWN, REQUESTS, middle] {
        for form in [secret.to_owned(), hex(secret), base64(secret)] {
            assert!(!dump.contains(&form), "{secret} is in the database");
        }
    }
    assert!(!world.server.log_text().contains(OWN) && !world.server.log_text().contains(REQUESTS));

    for table in ["stored_credentials", "credentials"] {
        let as_api = |columns: &str| {
            format!("SET ROLE alpine_api; SET alpine.tenant = 'dev'; SELECT {columns} FROM {table}; RESET ROLE; RESET alpine.tenant")
        };
        for columns in ["sealed", "*", "length(sealed)"] {
            let refused = world.db.try_execute(&as_api(columns)).await.unwrap_err();
            assert!(refused.contains("permission denied"), "{refused}");
            world.db.execute("RESET ROLE").await;
        }
        world.db.execute(&as_api("credential_id")).await;
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(text: &str) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD_NO_PAD.encode(text)
}

//! What administrators and operators do, and what holders of tokens and credentials do.

use alpine_tests::{World, cli::Alpine, ground};
use serde_json::Value;

use crate::modes::{Modes, settings};

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// The ids of one kind that a list has.
async fn ids(alpine: Alpine, args: &[&str], field: &str) -> Vec<String> {
    let list = alpine.args(args).args(&["--json"]).run().await.ok();
    list.as_array().unwrap().iter().map(|one: &Value| one[field].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_credentials_come_and_go() {
    let world = World::start().await;
    let (key, hosts) = ground::deploy_key(&world.dir);
    let ann = Modes::of(&world, "ann");
    settings()
        .bind_async(async {
            ann.run(&["token", "create", "--name", "robot"]).await;
            let tokens = ids(world.alpine("ann"), &["token", "list"], "token_id").await;
            ann.run_each(|n| words(&format!("token revoke {}", tokens[n]))).await.snapshot("token_revoke");
            ann.run(&["token", "list"]).await.snapshot("token_list_revoked");
            ann.run(&["token", "revoke", "tok_019ab1c24d3e7f508192a3b4c5d60001"]).await.snapshot("token_revoke_absent");
            let (key, hosts) = (key.display().to_string(), hosts.display().to_string());
            ann.run(&["credential", "set", "github.com", "--deploy-key", &key, "--known-hosts", &hosts]).await.snapshot("credential_set");
            ann.run(&["credential", "list"]).await.snapshot("credential_list_of_one");
            let of_host = |n: usize| format!("host{n}.example.com");
            for n in 0..4 {
                let set = world.alpine("ann").args(&["credential", "set", &of_host(n), "--token-stdin", "--json"]).stdin("s3cr3t").run();
                set.await.ok();
            }
            ann.run_each(|n| words(&format!("credential rm {}", of_host(n)))).await.snapshot("credential_rm");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_their_limits_and_what_was_done_to_them() {
    let world = World::start().await;
    let olga = Modes::each(|_| world.alpine("olga").env("ALPINE_TENANT", "house").env("ALPINE_ROLES", "alpine.operator"));
    let owner = Modes::each(|n| world.admin("root").env("ALPINE_TENANT", &format!("acme{n}")));
    settings()
        .bind_async(async {
            let create = |n| words(&format!("tenant create acme{n} --max-sessions 5 --max-operations-per-principal 2 --reason asked"));
            olga.run_each(create).await.snapshot("tenant_create");
            olga.run_each(|n| words(&format!("tenant set acme{n} --max-sessions none --max-operations 7"))).await.snapshot("tenant_set");
            owner.run(&["audit"]).await.snapshot("audit");
            olga.run(&["tenant", "list"]).await.snapshot("tenant_list");
            olga.run(&["tenant", "create", "acme0"]).await.snapshot("tenant_create_again");
        })
        .await;
}

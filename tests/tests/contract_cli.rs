//! The contract table: the command line's own manners.

use alpine_tests::{World, cli::text};

#[tokio::test(flavor = "multi_thread")]
async fn create_and_teardown_say_what_replaced_them_whatever_follows() {
    let world = World::start().await;
    let tails: &[&[&str]] = &[&[], &["--help"], &["x", "--branch", "y"], &["--nonsense=1", "-q"], &["--", "z"], &["-h"], &["--version"]];
    for (old, new) in [("create", "alpine up"), ("teardown", "alpine down")] {
        for tail in tails {
            let human = world.alpine("ann").args(&[old]).args(tail).run().await;
            assert_eq!(human.code, Some(1), "{human}");
            assert!(human.stderr.contains("ERR_COMMAND_REPLACED") && human.stderr.contains(new), "{human}");
            assert_eq!(human.stdout, "", "{human}");
            let json = world.alpine("ann").args(&["--json", old]).args(tail).run().await;
            let error = json.refused(1, "ERR_COMMAND_REPLACED");
            assert!(text(&error, "next_step").contains(new), "{error}");
            assert_eq!(error["retryable"], false);
        }
        let behind = world.alpine("ann").args(&[old, "x", "--json"]).run().await;
        behind.refused(1, "ERR_COMMAND_REPLACED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_usage_error_is_a_json_object_wherever_json_stands() {
    let world = World::start().await;
    let wrong: &[&[&str]] = &[
        &["frobnicate"],
        &["list", "--nonsense"],
        &["list", "--limit", "many"],
        &["list", "--limit"],
        &["list", "--state", "nonsense"],
        &["status"],
        &["down"],
        &["down", "a", "b"],
        &["up", "https://h/r", "extra", "--branch", "main"],
        &["status", "ses_x", "--branch", "y"],
        &[],
    ];
    for args in wrong {
        for at in 0..=args.len() {
            let mut with_json = args.to_vec();
            with_json.insert(at, "--json");
            let answer = world.alpine("ann").args(&with_json).run().await;
            assert_eq!(answer.code, Some(1), "{answer}");
            let error = answer.json();
            assert!(text(&error, "error_code").starts_with("ERR_"), "{answer}");
            assert_eq!(error["exit_code"], 1, "{answer}");
        }
        let human = world.alpine("ann").args(args).run().await;
        assert_eq!((human.code, human.stdout.as_str()), (Some(1), ""), "{human}");
        assert!(!human.stderr.is_empty(), "{human}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issues_four_commands_run_word_for_word() {
    let world = World::start().await;
    let run = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        world.alpine("tester").args(&words).run()
    };
    let up = run("up https://github.com/org/repo.git --branch main --json").await.ok();
    let session = text(&up, "session_id");
    world.answers(&up).await;
    let list = run("list --json").await.ok();
    assert_eq!(list[0]["session_id"], session.as_str());
    let status = run(&format!("status {session} --json")).await.ok();
    assert_eq!(status["state"], "ready");
    let down = run(&format!("down {session} --json")).await.ok();
    assert_eq!((&down["state"], &down["persistence_verified"]), (&"stopped".into(), &true.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_the_phases_on_stderr_and_the_result_on_stdout() {
    let world = World::start().await;
    let up = world.alpine("ann").args(&["up", alpine_tests::REPO, "--branch", "main", "--no-browser"]).run().await;
    assert_eq!(up.code, Some(0), "{up}");
    assert!(up.stdout.contains("ready") && up.stdout.contains("ses_") && up.stdout.contains("http"), "{up}");
    let down_of_unknown = world.alpine("ann").args(&["down", "ses_x"]).run().await;
    assert_eq!((down_of_unknown.code, down_of_unknown.stdout.as_str()), (Some(1), ""));
    assert!(down_of_unknown.stderr.contains("session not found") && down_of_unknown.stderr.contains("ERR_SESSION_NOT_FOUND"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_unavailable_and_a_stranger_is_not_trusted() {
    let world = World::start().await;
    let away = format!("https://127.0.0.1:{}", alpine_tests::base::free_port());
    let answer = world.alpine("ann").env("ALPINE_SERVER", &away).args(&["list", "--json"]).run().await;
    answer.refused(2, "ERR_UNAVAILABLE");
    let other = alpine_tests::pki::Pki::create(&alpine_tests::base::fresh("stranger"));
    let stranger = world.alpine("ann").env("ALPINE_CA_FILE", &other.ca.display().to_string()).args(&["list", "--json"]).run().await;
    assert_ne!(stranger.code, Some(0), "{stranger}");
    assert!(text(&stranger.json(), "error_code").starts_with("ERR_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn version_and_help_need_no_server() {
    let world = World::start().await;
    for args in [&["version"][..], &["--version"], &["--help"], &["up", "--help"], &["version", "--json"]] {
        let answer = world.alpine("").without("ALPINE_CONFIG_DIR").env("ALPINE_SERVER", "https://127.0.0.1:9").args(args).run().await;
        assert_eq!(answer.code, Some(0), "{answer}");
        assert!(!answer.stdout.is_empty(), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn livez_readyz_metrics_and_the_document_answer_without_a_token() {
    let world = World::start().await;
    let get = |path: &str| alpine_tests::api::send(world.pki.client().get(format!("{}{path}", world.server.base())));
    for path in ["/livez", "/readyz"] {
        get(path).await.expect(200);
    }
    let document = get("/openapi.json").await;
    assert!(document.expect(200)["openapi"].as_str().unwrap().starts_with("3.1"));
    let committed = std::fs::read_to_string(alpine_tests::bins::root().join("openapi/alpine.v1.json")).unwrap();
    assert_eq!(document.body, serde_json::from_str::<serde_json::Value>(&committed).unwrap(), "openapi/alpine.v1.json is out of date");
    let metrics = get("/metrics").await;
    assert_eq!(metrics.status, 200);
    for code in alpine_api::ErrorCode::ALL {
        assert!(metrics.text.contains(&format!("error_code=\"{code}\"")), "{code} is not in the metrics from the start");
    }
}

use std::process::ExitCode;

use clap::CommandFactory;

use super::*;
use crate::{
    config::Environment,
    testing::{Run, alpine},
};

const URL: &str = "https://github.com/org/repo.git";

/// Nobody, with no configuration: whatever asks a server here would fail in another way.
async fn bare(args: &[&str]) -> Run {
    alpine(args, &Environment::of(&[("ALPINE_CONFIG_DIR", "/nonexistent")])).await
}

async fn error_of(args: &[&str]) -> (String, String, u8) {
    bare(args).await.json_error()
}

#[tokio::test]
async fn every_usage_error_is_a_json_object_wherever_json_stands() {
    let wrong: &[&[&str]] = &[
        &["--json"],
        &["--json", "bogus"],
        &["bogus", "--json"],
        &["--bogus", "list", "--json"],
        &["list", "--bogus", "--json"],
        &["list", "--json", "--bogus"],
        &["--json", "list", "--bogus=x"],
        &["list", "extra", "--json"],
        &["list", "--limit", "--json"],
        &["list", "--limit", "x", "--json"],
        &["list", "--limit", "0", "--json"],
        &["list", "--limit", "-1", "--json"],
        &["list", "--limit", "10001", "--json"],
        &["list", "--state", "asleep", "--json"],
        &["list", "--profile", "--json"],
        &["status", "--json"],
        &["down", "--json"],
        &["down", "--json", "a", "b"],
        &["down", "--reason", "--json"],
        &["events", "x", "--after", "-1", "--json"],
        &["events", "x", "--after", "y", "--json"],
        &["up", "--json", "--bogus", URL, "--branch", "main"],
        &["up", URL, "--branch", "main", "--bogus", "--json"],
        &["up", URL, "more", "--branch", "main", "--json"],
        &["up", "--bogus", "--json"],
        &["up", URL, "--branch", "main", "--branch", "other", "--json"],
        &["up", URL, "--branch", "main", "--client-request-id", "", "--json"],
        &["up", URL, "--branch", "main", "--client-request-id", "--json"],
        &["token", "create", "--json"],
        &["token", "create", "--name", "x", "--scope", "root", "--json"],
        &["token", "create", "--name", "x", "--expires-in", "366d", "--json"],
        &["token", "revoke", "--json"],
        &["token", "--json"],
        &["version", "extra", "--json"],
        &["tenant", "--json"],
        &["tenant", "bogus", "--json"],
        &["profile", "--json"],
        &["profile", "use", "--json"],
        &["profile", "use", "nope", "--json"],
        &["tenant", "show", "a", "b", "--json"],
        &["tenant", "show", "..", "--json"],
        &["tenant", "set", "acme", "--max-sessions", "-1", "--json"],
        &["tenant", "set", "acme", "--max-sessions", "many", "--json"],
        &["audit", "--since", "-1", "--json"],
        &["audit", "--limit", "0", "--json"],
        &["audit", "--head", "1:00", "--json"],
        &["audit", "--verify", "--head", "1:00", "--json"],
        &["audit", "--verify", "--limit", "1", "--json"],
        &["help", "bogus", "--json"],
    ];
    for args in wrong {
        let (code, cause, exit) = error_of(args).await;
        assert_eq!((code.as_str(), exit), ("ERR_INVALID_REQUEST", 1), "{args:?}: {cause}");
    }
}

#[tokio::test]
async fn json_after_a_double_dash_is_a_value() {
    let run = bare(&["list", "--", "--json"]).await;
    assert_eq!((run.code, run.out.as_str()), (ExitCode::from(1), ""));
    assert!(run.err.contains("[ERR_INVALID_REQUEST]"), "{}", run.err);
}

#[tokio::test]
async fn usage_errors_are_told_to_people_on_stderr() {
    let mut told = String::new();
    for args in [
        &["bogus"][..],
        &["lst"],
        &["list", "--limt", "3"],
        &["list", "--limit", "many"],
        &["list", "--state", "asleep"],
        &["list", "--limit"],
        &["list", "extra"],
        &["status"],
        &["-v"],
    ] {
        let run = bare(args).await;
        assert_eq!((run.code, run.out.as_str()), (ExitCode::from(1), ""), "{args:?}");
        told.push_str(&format!("$ alpine {}\n{}", args.join(" "), run.err));
    }
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn a_value_with_a_secret_is_never_repeated() {
    let secret = "https://user:s3cr3t@host/x";
    let glued = format!("--bogus={secret}");
    let short = format!("-u{secret}");
    for args in [
        &["up", secret, "--branch", "main"][..],
        &["up", URL, secret, "--branch", "main"],
        &["up", &glued, URL, "--branch", "main"],
        &["up", URL, &short, "--branch", "main"],
        &["up", &short, "--branch", "main"],
        &["list", secret],
        &["list", "--limit", secret],
        &["list", "--state", secret],
        &["token", "revoke", secret],
        &["token", "create", "--name", "x", "--scope", secret],
        &["token", "create", "--name", "x", "--expires-in", secret],
        &["--server", secret, "--profile", "dev", "list"],
        &[secret],
    ] {
        let plain = bare(args).await;
        assert_eq!(plain.code, ExitCode::from(1), "{args:?}");
        let json = bare(&[&["--json"], args].concat()).await;
        for text in [plain.out, plain.err, json.out, json.err] {
            assert!(!text.contains("s3cr3t"), "{args:?}: {text}");
        }
    }
}

#[tokio::test]
async fn help_and_version_go_to_stdout_and_are_no_errors() {
    for args in
        [&["--help"][..], &["-h"], &["help"], &["up", "--help"], &["help", "down"], &["--version"], &["-V"], &["--json", "list", "--help"]]
    {
        let run = bare(args).await;
        assert_eq!((run.code, run.err.as_str()), (ExitCode::SUCCESS, ""), "{args:?}");
        assert!(run.out.contains("alpine"), "{args:?}: {}", run.out);
    }
}

#[tokio::test]
async fn no_arguments_bring_the_help_on_stderr() {
    let run = bare(&[]).await;
    assert_eq!((run.code, run.out.as_str()), (ExitCode::from(1), ""));
    assert!(run.err.contains("Usage: alpine") && run.err.contains("alpine up https://"), "{}", run.err);
}

#[tokio::test]
async fn replaced_commands_say_so_whatever_follows_them() {
    for old in ["create", "teardown"] {
        for rest in [
            &[][..],
            &["--help"],
            &["-h"],
            &["--bogus", "x", "--server"],
            &["--profile"],
            &["--json=1"],
            &["--", "--json"],
            &["-V", "\u{1b}"],
        ] {
            let run = bare(&[&[old], rest].concat()).await;
            assert_eq!((run.code, run.out.as_str()), (ExitCode::from(1), ""), "{old} {rest:?}");
            assert!(run.err.contains("[ERR_COMMAND_REPLACED]"), "{old} {rest:?}: {}", run.err);
        }
        let json: &[&[&str]] = &[
            &["--json", old],
            &[old, "--json"],
            &[old, "x", "--bogus", "--json"],
            &[old, "--help", "--json"],
            &[old, "--server", "--json"],
            &["-v", "--server", "nonsense", "--profile=p", "--no-color", "--json", old, "--branch"],
        ];
        for args in json {
            let (code, _, exit) = error_of(args).await;
            assert_eq!((code.as_str(), exit), ("ERR_COMMAND_REPLACED", 1), "{args:?}");
        }
    }
    assert!(bare(&["create"]).await.err.contains("alpine up <git-repo> --branch <b>"));
    assert!(bare(&["teardown", "x"]).await.err.contains("alpine down <session-id>"));
}

const BAD_BRANCHES: &[&str] = &[
    "bad branch",
    "-x",
    "--",
    "--help",
    "-h",
    "a..b",
    "a~b",
    "a^b",
    "a:b",
    "a?b",
    "a*b",
    "a[b",
    "a\\b",
    "a/",
    "a.",
    "a.lock",
    ".a",
    "/a",
    "a//b",
    "@",
    "a@{b",
    "a\nb",
    "a\tb",
    "a\u{1b}b",
    "a\u{7f}b",
    " ",
];
const BAD_URLS: &[&str] = &[
    "http://host/x",
    "git://host/x",
    "/srv/repo",
    "",
    "https://",
    "git@:",
    "https://u:p@host/x",
    "https://host/x?q",
    "https://host/x#f",
    "-x",
    "-uhttps://host/x",
    "--upload-pack=evil",
];

#[tokio::test]
async fn up_checks_branch_then_url_then_identity() {
    let branch_missing = ("ERR_BRANCH_REQUIRED".to_owned(), "branch is required".to_owned(), 1);
    for args in
        [&["up"][..], &["up", URL], &["up", URL, "--branch", ""], &["up", URL, "--branch="], &["up", URL, "--branch"], &["up", "nonsense"]]
    {
        assert_eq!(error_of(&[&["--json"], args].concat()).await, branch_missing, "{args:?}");
    }
    let branch_invalid = ("ERR_INVALID_BRANCH".to_owned(), "invalid branch name".to_owned(), 1);
    for branch in BAD_BRANCHES {
        assert_eq!(error_of(&["--json", "up", "nonsense", "--branch", branch]).await, branch_invalid, "{branch:?}");
        assert_eq!(error_of(&["up", "--json", &format!("--branch={branch}"), URL]).await, branch_invalid, "{branch:?}");
    }
    let url_invalid = ("ERR_INVALID_REPO_URL".to_owned(), "invalid repository URL".to_owned(), 1);
    for url in BAD_URLS {
        assert_eq!(error_of(&["--json", "up", url, "--branch", "main"]).await, url_invalid, "{url}");
    }
    assert_eq!(error_of(&["up", "--branch", "main", "--json"]).await, url_invalid);
    assert_eq!(error_of(&["up", "--branch", "main", "--json", "--", "-x"]).await, url_invalid);
    let nobody = ("ERR_CALLER_IDENTITY_REQUIRED".to_owned(), "caller identity is required".to_owned(), 1);
    assert_eq!(error_of(&["up", URL, "--branch", "main", "--json"]).await, nobody);
    for args in [&["list"][..], &["status", "nonsense"], &["down", "nonsense"], &["events", "nonsense"]] {
        assert_eq!(error_of(&[args, &["--json"]].concat()).await, nobody, "{args:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_branch_or_url_that_is_not_text_is_invalid() {
    use std::os::unix::ffi::OsStringExt;
    let argv = |args: &[&[u8]]| args.iter().map(|arg| OsString::from_vec(arg.to_vec())).collect::<Vec<_>>();
    let parsed = parse(argv(&[b"alpine", b"up", b"\xff", b"--branch", b"\xff"]));
    let Parsed::Command(cli) = parsed else { panic!("{parsed:?}") };
    assert!(matches!(cli.command, Command::Up(up) if up.branch.is_some() && up.repo.is_some()));
    assert!(matches!(parse(argv(&[b"alpine", b"list", b"--state", b"\xff"])), Parsed::Failed(CliError::Usage { .. })));
    assert!(matches!(parse(argv(&[b"alpine", b"create", b"\xff"])), Parsed::Failed(CliError::Replaced { .. })));
}

#[test]
fn global_options_are_taken_before_and_after_the_command() {
    for args in
        [&["--json", "--server", "s", "-v", "list"][..], &["list", "--server", "s", "--json", "-v"], &["--server=s", "ls", "--json", "-v"]]
    {
        let cli = Cli::try_parse_from([&["alpine"], args].concat()).unwrap();
        assert_eq!((cli.globals.json, cli.globals.server.as_deref(), cli.globals.verbose), (true, Some("s"), 1), "{args:?}");
    }
}

#[tokio::test]
async fn version_has_two_forms() {
    assert_eq!(bare(&["version"]).await.out, format!("alpine {}\n", env!("CARGO_PKG_VERSION")));
    let json: serde_json::Value = serde_json::from_str(&bare(&["version", "--json"]).await.out).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_help_texts() {
    let mut command = Cli::command().term_width(100);
    command.clone().debug_assert();
    command.build();
    insta::assert_snapshot!("help", command.render_long_help());
    for name in
        ["up", "down", "classes", "list", "status", "events", "login", "logout", "whoami", "token", "tenant", "audit", "import", "version"]
    {
        let help = command.find_subcommand_mut(name).unwrap().clone().term_width(100).render_long_help();
        insta::assert_snapshot!(format!("help_{name}"), help);
    }
    for name in ["create", "list", "revoke"] {
        let token = command.find_subcommand_mut("token").unwrap();
        let help = token.find_subcommand_mut(name).unwrap().clone().term_width(100).render_long_help();
        insta::assert_snapshot!(format!("help_token_{name}"), help);
    }
    for name in ["list", "show", "create", "set"] {
        let help = command.find_subcommand_mut("tenant").unwrap().find_subcommand_mut(name).unwrap().clone().term_width(100);
        insta::assert_snapshot!(format!("help_tenant_{name}"), help.clone().render_long_help());
    }
    for name in ["list", "use"] {
        let help = command.find_subcommand_mut("profile").unwrap().find_subcommand_mut(name).unwrap().clone().term_width(100);
        insta::assert_snapshot!(format!("help_profile_{name}"), help.clone().render_long_help());
    }
    let credential = command.find_subcommand_mut("credential").unwrap();
    insta::assert_snapshot!("help_credential", credential.clone().term_width(100).render_long_help());
    for name in ["set", "list", "rm"] {
        let help = credential.find_subcommand_mut(name).unwrap().clone().term_width(100).render_long_help();
        insta::assert_snapshot!(format!("help_credential_{name}"), help);
    }
}

#[tokio::test]
async fn help_is_named_of_the_very_command_that_was_meant() {
    for (args, help) in [
        (&["token", "create", "--json"][..], "alpine token create --help"),
        (&["token", "create", "--name", "x", "--scope", "root", "--json"], "alpine token create --help"),
        (&["--json", "token"], "alpine token --help"),
        (&["down", "--json"], "alpine down --help"),
        (&["bogus", "--json"], "alpine --help"),
    ] {
        let run = bare(args).await;
        let next = serde_json::from_str::<serde_json::Value>(&run.out).unwrap()["next_step"].as_str().unwrap().to_owned();
        assert!(next.ends_with(&format!("run {help}")), "{args:?}: {next}");
    }
}

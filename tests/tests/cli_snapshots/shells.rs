//! Completions in the shells themselves.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use alpine_tests::{World, base, bins, cli::text};

/// What a shell finds when `<Tab>` is pressed after `line`, and what it took.
struct Shell<'a> {
    world: &'a World,
    home: &'a Path,
}

impl Shell<'_> {
    async fn run(&self, shell: &str, script: &str) -> Output {
        let path = format!("{}:/usr/bin:/bin", bins::path("alpine").parent().unwrap().display());
        let alpine = self.world.alpine("ann").env("PATH", &path).env("HOME", &self.home.display().to_string()).args(&["-c", script]);
        let mut command = alpine.command_of(shell.into());
        let output = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output().await;
        output.unwrap_or_else(|error| panic!("{shell}: {error}"))
    }

    /// What the server does not answer within a second is not offered, and asked for by another press of the key.
    async fn offers_at_last(&self, shell: &str, line: &str, expected: &[&str]) -> Vec<String> {
        let mut offered = Vec::new();
        for _ in 0..10 {
            offered = self.offers(shell, line).await;
            offered.sort();
            if offered == expected {
                break;
            }
        }
        offered
    }

    async fn offers(&self, shell: &str, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split(' ').collect();
        let last = words.len() - 1;
        let script = match shell {
            "bash" => format!(
                "source $HOME/.local/share/bash-completion/completions/alpine; COMP_WORDS=({}); COMP_CWORD={last}; COMP_TYPE=9
                 [ -n \"${{COMP_WORDS[{last}]-}}\" ] || COMP_WORDS[{last}]=
                 _clap_complete_alpine alpine \"${{COMP_WORDS[{last}]}}\" status; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
                words.join(" ")
            ),
            "zsh" => format!(
                "fpath=($HOME/.local/share/zsh/site-functions $fpath); autoload -Uz compinit && compinit -u -D
                 _describe() {{ print -l -- ${{(P)@[-1]}} }}
                 words=({} {}); CURRENT={}; ${{_comps[alpine]}}",
                words[..last].join(" "),
                if words[last].is_empty() { "''" } else { words[last] },
                last + 1
            ),
            _ => format!("complete -C '{line}'"),
        };
        let output = self.run(shell, &script).await;
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{shell} {line}");
        // zsh and fish show what it is beside it.
        let value = |line: &str| line.split(['\t', ':']).next().unwrap_or_default().trim().to_owned();
        String::from_utf8(output.stdout).unwrap().lines().map(value).filter(|value| !value.is_empty()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bash_zsh_and_fish_complete_commands_sessions_and_profiles() {
    let mut world = World::start().await;
    let ended = text(&world.ready("ann").await, "session_id");
    world.down("ann", &ended, &[]).await.ok();
    let ready = text(&world.ready("ann").await, "session_id");
    let of_bob = text(&world.ready("bob").await, "session_id");
    let home = base::fresh("home");
    let shells = Shell { world: &world, home: &home };
    for shell in ["bash", "zsh", "fish"] {
        let install =
            || world.alpine("ann").env("HOME", &home.display().to_string()).args(&["completion", "install", "--shell", shell, "--json"]);
        assert_eq!(install().run().await.ok()["changed"], true);
        assert_eq!(install().run().await.ok()["changed"], false, "twice is once");
        let mut both = [ended.as_str(), ready.as_str()];
        both.sort_unstable();
        for (line, expected, what) in [
            ("alpine status ses_", &both[..], format!("the person's own, and nobody else's ({of_bob})")),
            ("alpine down ses_", &[&ready], "what can be stopped".to_owned()),
            ("alpine open ses_", &[&ready], "what can be opened".to_owned()),
            ("alpine logs -f ses_", &both, "what has a log".to_owned()),
        ] {
            assert_eq!(shells.offers_at_last(shell, line, expected).await, expected, "{shell}: {what}");
        }
        assert_eq!(shells.offers(shell, "alpine whoami --profile d").await, ["dev"], "{shell}");
        assert_eq!(shells.offers(shell, "alpine compl").await, ["completion"], "{shell}");
        assert_eq!(shells.offers(shell, "alpine list --wat").await, ["--watch"], "{shell}");
    }
    // Nothing of the person's own was written to.
    let mut written: Vec<_> = std::fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    written.retain(|name| name.ends_with("rc") || name.ends_with("profile"));
    assert_eq!(written, Vec::<String>::new());
    // A server that does not answer, or is not there: nothing is offered, soon.
    let answer = |alpine: alpine_tests::cli::Alpine| async move {
        let begun = Instant::now();
        let alpine = alpine.env("ALPINE_COMPLETE", "fish").args(&["--", "alpine", "status", "ses_"]).run().await;
        assert_eq!((alpine.code, alpine.stdout.as_str(), alpine.stderr.as_str()), (Some(0), "", ""), "{alpine}");
        begun.elapsed()
    };
    assert!(answer(world.alpine("ann").env("ALPINE_TOKEN", "nonsense")).await < Duration::from_secs(4));
    world.server.freeze();
    assert!(answer(world.alpine("ann")).await < Duration::from_secs(4), "it does not wait for a frozen server");
    world.server.thaw();
    world.server.kill();
    assert!(answer(world.alpine("ann")).await < Duration::from_secs(4));
}

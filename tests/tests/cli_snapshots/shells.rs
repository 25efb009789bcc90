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
        let mut states = shells.offers(shell, "alpine status ses_").await;
        states.sort();
        let mut both = [ended.clone(), ready.clone()];
        both.sort();
        assert_eq!(states, both, "{shell}: the person's own, and nobody else's ({of_bob})");
        assert_eq!(shells.offers(shell, "alpine down ses_").await, [ready.as_str()], "{shell}: what can be stopped");
        assert_eq!(shells.offers(shell, "alpine open ses_").await, [ready.as_str()], "{shell}: what can be opened");
        assert_eq!(shells.offers(shell, "alpine logs -f ses_").await.len(), 2, "{shell}");
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

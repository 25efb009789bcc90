//! Ctrl-C ends the looking, and nothing else.

use std::time::Duration;

use alpine_tests::{World, api::Api, cli::text, until};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::modes::{Modes, settings};

const LIMIT: Duration = Duration::from_secs(60);
const SLOW: &str = "https://github.com/org/slow.git";

/// The sessions in this state, when there are so many.
async fn sessions(ann: &Api, state: &str, count: usize) -> Vec<String> {
    let path = format!("/v1/sessions?state={state}");
    let there = || async {
        let page = ann.get(&path).await.expect(200).clone();
        let ids: Vec<String> = page["sessions"].as_array().unwrap().iter().map(|one: &Value| text(one, "session_id")).collect();
        (ids.len() == count).then_some(ids)
    };
    until(state, LIMIT, there).await
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_up_that_is_interrupted_goes_on_and_its_ids_are_told() {
    let world = crate::world().await;
    let (ann, alpine, interrupt) = (world.api("ann"), Modes::of(&world, "ann"), CancellationToken::new());
    let begun = async {
        let sessions = sessions(&ann, "installing", 4).await;
        // What is on its way to the screen is there.
        tokio::time::sleep(Duration::from_millis(500)).await;
        interrupt.cancel();
        sessions
    };
    let up = words(&format!("up {SLOW} --branch main"));
    let (said, begun) = tokio::join!(alpine.run_until(&interrupt, |_| up.clone()), begun);
    settings().bind(|| said.snapshot("up_interrupted"));
    assert_eq!(said.plain.code, Some(1));
    let (mut told, mut begun) = (said.sessions(), begun);
    told.sort();
    begun.sort();
    assert_eq!(told, begun);
    let mut ready = sessions(&ann, "ready", 4).await;
    ready.sort();
    assert_eq!(ready, begun, "what was begun ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn to_stop_following_is_the_ordinary_end() {
    let world = World::start().await;
    world.git.with_files("org/gated", &[(".alpine.toml", "install = \"while [ ! -e gate ]; do sleep 0.1; done\"\n")]);
    let (ann, alpine) = (world.api("ann"), Modes::of(&world, "ann"));
    let up = world.up("ann", "https://github.com/org/gated.git", "main", &["--no-wait"]).run().await.ok();
    let session = text(&up, "session_id");
    sessions(&ann, "installing", 1).await;
    for (name, follow) in [("events", format!("events {session} --follow")), ("logs", format!("logs {session} --follow"))] {
        let interrupt = CancellationToken::new();
        let watched = async {
            let watchers = || async { (world.server.metric("alpine_event_stream_watchers", &[]).await == Some(4.0)).then_some(()) };
            until("four watch", LIMIT, watchers).await;
            interrupt.cancel();
        };
        let (said, ()) = tokio::join!(alpine.run_until(&interrupt, |_| words(&follow)), watched);
        let codes = [said.terminal.code, said.plain.code, said.json.code, said.json_terminal.code];
        assert_eq!(codes, [Some(0); 4], "{name}: {said:?}");
        assert!(said.plain.stderr.is_empty() && said.json.stderr.is_empty(), "{name}: {said:?}");
    }
    std::fs::write(world.workspace(&session).join("gate"), "").unwrap();
    assert_eq!(sessions(&ann, "ready", 1).await, [session], "what was only watched went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_list_leaves_its_last_state_on_the_screen() {
    let world = World::start().await;
    let session = text(&world.ready("ann").await, "session_id");
    let interrupt = CancellationToken::new();
    let alpine = world.alpine("ann").args(&["list", "--watch"]).on_terminal_until(100, interrupt.cancelled());
    let stop = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.down("ann", &session, &[]).await.ok();
        tokio::time::sleep(Duration::from_secs(6)).await;
        interrupt.cancel();
    };
    let (shown, ()) = tokio::join!(alpine, stop);
    assert_eq!(shown.code, Some(0));
    assert!(shown.frames.iter().any(|frame| frame.contains(" ready ")), "{:?}", shown.frames);
    settings().bind(|| insta::assert_snapshot!("list_watch", crate::modes::normalised(shown.screen())));
}

//! Waiting on a terminal is never silent, and outlives the server.

use std::time::Duration;

use alpine_tests::{World, cli::text};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn the_running_step_shows_its_seconds_and_a_lost_server_is_said_to_be_looked_for() {
    let mut world = World::with(&[("ALPINE_LEASE_SECONDS", "3")]).await;
    let steps = "install = \"for n in $(seq 60); do echo step $n; sleep 0.2; done\"\n";
    world.git.with_files("org/long", &[(".alpine.toml", steps)]);
    let up = ["up", "https://github.com/org/long.git", "--branch", "main", "--no-browser"];
    let (wide, plain) = (world.alpine("ann").args(&up), world.alpine("ann").args(&up));
    let wide = tokio::spawn(wide.on_terminal(40));
    let plain = plain.spawn();
    tokio::time::sleep(Duration::from_secs(4)).await;
    world.server.kill();
    tokio::time::sleep(Duration::from_secs(7)).await;
    world.server.start_again().await;
    let (shown, plain) = (wide.await.unwrap(), plain.await.unwrap());
    assert_eq!((shown.code, plain.code), (Some(0), Some(0)), "{plain}\n{}", shown.screen());
    let frame = |words: &str| shown.frames.iter().any(|frame| frame.contains(words));
    assert!(frame("installing dependencies"), "{:?}", shown.frames.last());
    assert!(frame("no connection to the server"), "{:?}", shown.frames);
    // What was written over is gone, what is over stays, and no line is torn.
    let screen = shown.screen();
    assert!(!screen.contains("no connection") && screen.contains("✓ making the sandbox") && screen.contains("ready in"), "{screen}");
    let steps: Vec<&str> = screen.lines().filter(|line| line.starts_with('✓')).collect();
    assert!(steps.len() >= 4 && steps.iter().all(|line| line.chars().count() == 39 && line.ends_with(" s")), "{screen}");
    assert!(plain.stderr.contains("no connection to the server; reconnecting") && plain.stderr.contains("connected again"), "{plain}");
    assert!(plain.stderr.contains("installing dependencies") && !plain.stderr.contains('\u{1b}'), "{plain}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_list_is_written_over_on_a_terminal_and_told_anew_elsewhere() {
    let world = super::world().await;
    let watch = |json: &[&str]| world.alpine("ann").args(&["list", "--watch"]).args(json);
    let mut child = watch(&["--json"]).command_of(alpine_tests::bins::path("alpine"));
    let out = world.dir.join("watched");
    child.stdout(std::fs::File::create(&out).unwrap()).stdin(std::process::Stdio::null());
    let mut child = child.spawn().unwrap();
    let lines =
        || std::fs::read_to_string(&out).unwrap().lines().map(|line| serde_json::from_str::<Vec<Value>>(line).unwrap()).collect::<Vec<_>>();
    alpine_tests::until("an empty list", Duration::from_secs(10), || async { (lines() == [Vec::<Value>::new()]).then_some(()) }).await;
    let session = text(&world.ready("ann").await, "session_id");
    let ready = |list: &Vec<Value>| list.first().is_some_and(|one| one["session_id"] == session.as_str() && one["state"] == "ready");
    alpine_tests::until("the session", Duration::from_secs(10), || async { lines().last().filter(|list| ready(list)).map(|_| ()) }).await;
    let said = lines().len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(lines().len(), said, "nothing has changed");
    rustix::process::kill_process(rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap(), rustix::process::Signal::INT)
        .unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0), "to stop watching is the ordinary end");
}

//! A session with opencode in Chromium, let in as `alpine open` does it.

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alpine_tests::{REPO, World, bins, cli::text, tools};
use reqwest::Method;
use serde_json::{Value, json};

use super::stage::{NETWORK, Stage};

/// opencode for sessions, found where tests/run.sh has put it.
#[expect(clippy::disallowed_methods, reason = "the path that programs are found in")]
async fn with_opencode() -> World {
    let tools = tools::switch("ALPINE_TEST_TOOLS").unwrap_or_else(|| {
        let package = if cfg!(target_arch = "aarch64") { "opencode-linux-arm64" } else { "opencode-linux-x64" };
        bins::root().join("target/tools/node_modules").join(package).join("bin").display().to_string()
    });
    let path = format!("{tools}:{}", std::env::var("PATH").unwrap());
    let world = Stage::world(&[("ALPINE_SANDBOX_SERVE", ""), ("PATH", &path)]).await;
    world.git.with_files("org/repo", &[("README.md", "hello\n")]);
    world
}

/// Another session; where a browser is let into it.
async fn another(world: &World, principal: &str, repo: &str) -> String {
    let session = text(&world.up(principal, repo, "main", &[]).run().await.ok(), "session_id");
    let opened = world.api(principal).send(Method::POST, &format!("/v1/sessions/{session}/open"), &Value::Null).await;
    text(opened.expect(200), "url")
}

/// Where `alpine open` sends a browser.
async fn way_in(world: &World, up: &Value) -> String {
    let session = text(up, "session_id");
    let sent_to = world.dir.join("sent-to");
    let script = world.dir.join("browser.sh");
    std::fs::write(&script, format!("#!/bin/sh\nprintf %s \"$1\" >{}\n", sent_to.display())).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let open = world.alpine("ann").without("CI").env("BROWSER", &script.display().to_string()).args(&["open", &session, "--json"]);
    let opened = open.run().await.ok();
    assert_eq!((&opened["browser_opened"], &opened["opencode_url"]), (&json!(true), &up["opencode_url"]), "what is printed lets nobody in");
    let way_in = std::fs::read_to_string(&sent_to).unwrap();
    assert!(way_in.starts_with(&format!("{}.alpine/open?code=", text(up, "opencode_url"))), "{way_in}");
    way_in
}

/// A minute in Chromium, and what was to be seen.
fn browse(world: &World, way_in: &str, origin: &str, [sibling, others]: [&str; 2]) -> Result<String, String> {
    let shots = bins::root().join("target/screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let profile = world.dir.join("chromium");
    // None of an earlier try's.
    let _ = std::fs::remove_dir_all(&profile);
    let chromium = tools::switch("ALPINE_TEST_CHROMIUM").unwrap_or_else(|| "/usr/bin/chromium".to_owned());
    let told = json!({
        "package": tools::fetched("document"), "chromium": chromium, "way_in": way_in, "origin": origin, "sibling": sibling,
        "others": others,
        "api": format!("https://127.0.0.1:{}/livez", world.server.port), "seconds": 62, "profile": profile,
        "shot": shots.join("session.png"),
    });
    let script = bins::root().join("tests/gateway/page.mjs");
    let node = || Command::new("node").arg(script).arg(told.to_string()).stdin(Stdio::null()).output().unwrap();
    let output = tokio::task::block_in_place(node);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(said) } else { Err(said + &String::from_utf8_lossy(&output.stderr)) }
}

/// Chromium gives its connections up when the machine's addresses change, which says nothing of whoever is at their other end.
struct Networks(Arc<AtomicBool>);

impl Networks {
    fn watch() -> Self {
        let (changed, before) = (Arc::new(AtomicBool::new(false)), Self::addresses());
        let watched = Arc::downgrade(&changed);
        std::thread::spawn(move || {
            while let Some(changed) = watched.upgrade() {
                changed.fetch_or(Self::addresses() != before, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self(changed)
    }

    fn addresses() -> Vec<u8> {
        ["/proc/net/fib_trie", "/proc/net/if_inet6"].into_iter().flat_map(|file| std::fs::read(file).unwrap_or_default()).collect()
    }

    fn have_changed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_alpine_open_lets_in_uses_opencode_for_a_minute_and_no_other_page_does() {
    let _still = NETWORK.lock().await;
    let world = with_opencode().await;
    let up = world.up("ann", REPO, "main", &[]).limit(Duration::from_secs(300)).run().await.ok();
    let session = text(&up, "session_id");
    let serve = "serve = \"exec python3 -m http.server $PORT --bind $HOST\"";
    let (repo, _) = world.git.with_files("org/sibling", &[(".alpine.toml", serve)]);
    let origin = text(&up, "opencode_url").trim_end_matches('/').to_owned();
    let mut tries = 0;
    let (seen, said) = loop {
        tries += 1;
        let networks = Networks::watch();
        let (sibling, others) = (another(&world, "ann", &repo).await, another(&world, "bob", &repo).await);
        let way_in = way_in(&world, &up).await;
        let said = browse(&world, &way_in, &origin, [&sibling, &others]);
        let undisturbed = !networks.have_changed() || tries == 3;
        match said {
            Err(why) => assert!(!undisturbed, "{why}"),
            Ok(said) => {
                let seen: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
                if undisturbed || seen["alive"]["sse_errors"] == 0 {
                    break (seen, said);
                }
            }
        }
    };

    assert_eq!(seen["errors"], json!([]), "{seen:#}");
    assert!(seen["url"].as_str().unwrap().starts_with(&origin) && !said.contains("code="), "{seen:#}");
    assert_eq!((&seen["referrer"], &seen["health"]["healthy"]), (&json!(""), &json!(true)));
    assert_eq!(seen["cookie"], json!({ "secure": true, "http_only": true, "same_site": "Lax", "path": "/" }));
    assert!(!seen["script_sees"].as_str().unwrap().contains("alpine"), "{seen:#}");
    assert_eq!(seen["worker"], "refused");
    let alive = &seen["alive"];
    assert_eq!(
        (&alive["sse_open"], &alive["ws_open"], &alive["sse_errors"], &alive["ws_closed"]),
        (&json!(true), &json!(true), &json!(0), &json!(0)),
        "{seen:#}"
    );
    assert!(alive["events"].as_u64() >= alive["rounds"].as_u64() && alive["quiet_rounds"] == 0, "{seen:#}");
    for from in ["from_sibling", "from_api"] {
        assert_eq!(seen[from]["outcome"], json!(["refused", "opaque", "opaque", "refused"]), "{seen:#}");
        let statuses = seen[from]["statuses"].as_array().unwrap();
        assert!(statuses.iter().all(|status| matches!(status.as_u64(), Some(401 | 403))), "{seen:#}");
    }
    assert_eq!((&seen["stranger"], &seen["spent"]), (&json!(401), &json!(401)));
    assert_eq!(seen["others"], json!({ "own": 200, "this_one": 401, "with_their_cookie": 401, "own_still": 200 }));
    // Nothing of it is in what the program was given to write.
    let log = world.api("ann").get(&format!("/v1/sessions/{session}/log")).await.text;
    assert!(!log.contains("OPENCODE_SERVER_PASSWORD is not set"), "{log}");
}

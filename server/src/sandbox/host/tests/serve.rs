use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

use super::*;

fn web_server() -> Command {
    argv(&["/usr/bin/python3", "-u", "-m", "http.server", "$PORT", "--bind", "$HOST"])
}

fn get(endpoint: &Endpoint, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

async fn listens(provider: &HostProvider, handle: &Handle) -> bool {
    matches!(provider.inspect(handle.session).await.unwrap(), Status::Serving { listening: true, .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_served_program_answers_and_is_found_again_after_a_restart() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        world.sh(&handle, "echo hello > file").await;
        // A runtime that ends, as the server's does.
        let (provider, theirs) = (world.again(), handle.clone());
        let endpoint = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(provider.serve(&theirs, FENCE, web_server())).unwrap()
        })
        .join()
        .unwrap();
        let restarted = world.again();
        eventually("it listens", async || listens(&restarted, &handle).await).await;
        assert!(get(&endpoint, "/file").unwrap().ends_with("hello\n"));
        assert_eq!(restarted.inspect(handle.session).await.unwrap(), Status::Serving { endpoint: endpoint.clone(), listening: true });

        let before = world.sandbox(&handle).meta().unwrap().served;
        assert_eq!(restarted.serve(&handle, FENCE, web_server()).await.unwrap(), endpoint, "left alone");
        assert_eq!(world.sandbox(&handle).meta().unwrap().served, before);
        // A command comes and goes, with all its children, and the program stays.
        world.sh(&handle, "sleep 1000 & true").await;
        assert!(get(&endpoint, "/file").is_some());
        assert!(restarted.served_output(&handle, 4096).await.unwrap().contains("GET /file"));
        assert!(restarted.served_output(&handle, 5).await.unwrap().len() <= 5);
    }
}

#[tokio::test]
async fn a_stranger_on_the_port_is_not_the_program() {
    for mode in on_the_hosts_network() {
        let world = World::new(mode);
        let handle = world.session().await;
        let endpoint = world.provider.serve(&handle, FENCE, sh("exec sleep 1000")).await.unwrap();
        assert!(!listens(&world.provider, &handle).await);
        let _stranger = TcpListener::bind((endpoint.host.as_str(), endpoint.port)).unwrap();
        assert_eq!(world.provider.inspect(handle.session).await.unwrap(), Status::Serving { endpoint, listening: false });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_session_cannot_pass_for_the_program() {
    for mode in on_the_hosts_network() {
        if mode == Mode::Plain && !is_root() {
            continue; // One user, no walls: nothing tells them apart.
        }
        let world = World::new(mode);
        let (victim, thief) = (world.session().await, world.session().await);
        let endpoint = world.provider.serve(&victim, FENCE, sh("exec sleep 1000")).await.unwrap();
        let script = format!(
            "exec env ALPINE_SESSION_ID={} ALPINE_SERVE=1 /usr/bin/python3 -m http.server {} --bind 127.0.0.1",
            victim.session, endpoint.port
        );
        world.provider.serve(&thief, FENCE, sh(&script)).await.unwrap();
        eventually("the thief listens", async || get(&endpoint, "/").is_some()).await;
        if is_root() {
            assert!(!listens(&world.provider, &victim).await, "{mode:?}");
        }
    }
}

#[tokio::test]
async fn a_program_that_ended_is_started_anew_and_leaves_no_zombie() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        world.provider.serve(&handle, FENCE, sh("echo it failed; sleep 3; exit 1")).await.unwrap();
        eventually("it has ended", async || world.provider.inspect(handle.session).await.unwrap() == Status::Idle).await;
        assert!(world.provider.served_output(&handle, 100).await.unwrap().contains("it failed"));
        let pid = world.sandbox(&handle).meta().unwrap().served.unwrap().process.pid;
        eventually("it is waited for", async || !std::path::Path::new(&format!("/proc/{pid}")).exists()).await;
        let endpoint = world.provider.serve(&handle, FENCE, web_server()).await.unwrap();
        eventually("it listens", async || listens(&world.provider, &handle).await).await;
        assert!(get(&endpoint, "/").is_some());
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_not_recorded_as_running() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        match world.provider.serve(&handle, FENCE, argv(&["no-such-program"])).await {
            // Not to be tried again.
            Err(error) => assert!(matches!(&error, ProviderError::Permanent { what, .. } if what.contains("no-such-program")), "{error}"),
            // It took longer to find out than to record it.
            Ok(_) => eventually("it has ended", async || world.provider.inspect(handle.session).await.unwrap() == Status::Idle).await,
        }
        assert_eq!(world.provider.inspect(handle.session).await.unwrap(), Status::Idle);
        assert!(world.provider.served_output(&handle, 500).await.unwrap().contains("no-such-program"));
    }
}

#[tokio::test]
async fn a_program_that_was_started_and_never_recorded_is_replaced() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        world.provider.serve(&handle, FENCE, sh("exec sleep 1005")).await.unwrap();
        let sandbox = world.sandbox(&handle);
        sandbox.write_meta(&Meta { served: None, ..sandbox.meta().unwrap() }).unwrap();
        eventually("the first runs", async || has_argument(&world, &handle, "1005")).await;
        world.provider.serve(&handle, FENCE, sh("exec sleep 1006")).await.unwrap();
        eventually("the second runs", async || has_argument(&world, &handle, "1006")).await;
        assert!(!has_argument(&world, &handle, "1005"));
    }
}

#[tokio::test]
async fn the_program_gets_host_and_port_and_its_own_terminal_session() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        let endpoint = world.provider.serve(&handle, FENCE, argv(&["sh", "-c", "env; echo port $PORT; exec sleep 1000"])).await.unwrap();
        let wanted = [
            format!("HOST={}\n", world.provider.inner.walls.bind_address()),
            format!("PORT={}\n", endpoint.port),
            format!("port {}\n", endpoint.port),
        ];
        eventually("its output is kept", async || {
            let text = world.provider.served_output(&handle, 10_000).await.unwrap();
            wanted.iter().all(|wanted| text.contains(wanted))
        })
        .await;
    }
}

#[tokio::test]
async fn a_port_taken_by_a_stranger_is_not_given_out() {
    let world = World::new(Mode::Plain);
    let handle = world.session().await;
    let slot = world.sandbox(&handle).meta().unwrap().slot;
    let port = world.provider.inner.slots.free_port(slot).unwrap();
    let _stranger = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let endpoint = world.provider.serve(&handle, FENCE, sh("exec sleep 1000")).await.unwrap();
    assert_ne!(endpoint.port, port);
}

//! What containers are besides what every provider is.

use std::net::{Ipv4Addr, TcpListener};

use super::*;

/// What becomes of a connection that is tried from within: `connected`, or Python's word for it.
async fn tried(provider: &HostProvider, handle: &Handle, address: &str, port: u16) -> String {
    let connect = format!(
        "import socket\ntry: socket.create_connection(('{address}', {port}), 2); print('connected')\nexcept OSError as error: print(type(error).__name__)"
    );
    run(provider, handle, argv(&["python3", "-c", &connect])).await.1.trim().to_owned()
}

/// Whether a connection is made, from within, in two seconds.
async fn reaches(provider: &HostProvider, handle: &Handle, address: &str, port: u16) -> bool {
    tried(provider, handle, address, port).await == "connected"
}

pub(super) fn ask(arguments: &[&str]) -> std::process::Output {
    let socket = format!("unix://{}", docker().unwrap().display());
    std::process::Command::new("docker").args(["--host", &socket]).args(arguments).output().unwrap()
}

pub(super) fn engine(arguments: &[&str]) -> String {
    let output = ask(arguments);
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(super) fn name(handle: &Handle) -> String {
    format!("alpine-{}", handle.session)
}

pub(super) fn worlds() -> Option<World> {
    docker().map(|_| World::new(Mode::Docker))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_has_no_privilege_and_a_root_that_nobody_writes_to() {
    let Some(world) = worlds() else { return };
    let handle = world.session().await;
    let shown = engine(&["inspect", &name(&handle)]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let (config, host) = (&shown[0]["Config"], &shown[0]["HostConfig"]);
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
    assert_eq!((&host["ReadonlyRootfs"], &host["Privileged"]), (&json!(true), &json!(false)));
    let meta = world.sandbox(&handle).meta().unwrap();
    assert_eq!(config["User"], "65534:65534", "what keeps it alive is not the session's to end");
    assert_eq!(world.sh(&handle, "id -u; id -G").await.1, format!("{0}\n{0}\n", meta.uid.unwrap()));
    let labels = &config["Labels"];
    assert_eq!((&labels["alpine.tenant"], &labels["alpine.fence"]), (&json!("team"), &json!("7")));
    assert_eq!(labels["alpine.session"], handle.session.to_string());
    assert_eq!(labels["alpine.generation"], meta.generation);
    let (_, status) = world.sh(&handle, "cat /proc/self/status; touch /x /usr/x /etc/x; ls -d /var/run/docker.sock").await;
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert_eq!(status.matches("Read-only file system").count(), 3, "{status}");
    assert!(status.contains("cannot access '/var/run/docker.sock'"), "{status}");
}

/// Docker says that it has begun a program before the program looks whether it may.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_served_although_a_command_comes_right_after_it() {
    let Some(world) = worlds() else { return };
    for _ in 0..6 {
        let handle = world.session().await;
        let serve = argv(&["python3", "-m", "http.server", "$PORT", "--bind", "$HOST"]);
        world.provider.serve(&handle, FENCE, serve).await.unwrap();
        // As after a restart of the server, it knows of no command before.
        assert_eq!(run(&world.again(), &handle, sh("true")).await.0, Exit::Code(0));
        let serves = async || matches!(world.provider.inspect(handle.session).await.unwrap(), Status::Serving { listening: true, .. });
        eventually("it is served", serves).await;
        world.provider.destroy(handle.session, FENCE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_this_host_and_of_its_neighbours_a_session_reaches_nothing() {
    let Some(world) = worlds() else { return };
    let (mine, other) = (world.session().await, world.session().await);
    let serve = argv(&["python3", "-m", "http.server", "$PORT", "--bind", "$HOST"]);
    let endpoint = world.provider.serve(&other, FENCE, serve).await.unwrap();
    let answers = async || std::net::TcpStream::connect((endpoint.host.as_str(), endpoint.port)).is_ok();
    eventually("the neighbour's program answers this host", answers).await;
    // As the control plane and its database do, on every address of the host.
    let host = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = host.local_addr().unwrap().port();
    let gateway = engine(&["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", &name(&mine)]);
    let own = engine(&["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", &name(&mine)]);
    assert!(std::net::TcpStream::connect((gateway.as_str(), port)).is_ok(), "what is tried answers this host");
    // Nothing is at the last ones, perhaps: that they are refused, and at once, is the rules' doing.
    let nobody = ["169.254.169.254", "100.100.100.200", "192.168.255.254"].map(|address| (address, 80));
    for (address, port) in [(gateway.as_str(), port), (&endpoint.host, endpoint.port)].into_iter().chain(nobody) {
        assert_eq!(tried(&world.provider, &mine, address, port).await, "ConnectionRefusedError", "{address}:{port}");
    }
    // The try itself succeeds where it may.
    let serves = "python3 -m http.server 8000 --bind 0.0.0.0 & for i in $(seq 100); do sleep .1; ";
    let to_itself = format!("{serves} python3 -c \"import socket; socket.create_connection(('{own}', 8000), 2)\" && exit; done; exit 1");
    assert_eq!(world.sh(&mine, &to_itself).await.0, Exit::Code(0));
    let (_, text) =
        world.sh(&mine, "iptables -F OUTPUT; python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)'").await;
    assert!(text.contains("Operation not permitted") || text.contains("PermissionError"), "nor can it change that: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_allowed_is_reached_and_nothing_beside_it() {
    if docker().is_none() {
        return;
    }
    let world = World::new(Mode::Docker);
    let handle = world.session().await;
    let gateway = engine(&["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", &name(&handle)]);
    let [one, two] = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    let [one, two] = [&one, &two].map(|listener| listener.local_addr().unwrap().port());
    world.provider.destroy(handle.session, FENCE).await.unwrap();
    let settings = DockerSettings { allowed: vec![format!("{gateway}:{one}").parse().unwrap()], ..docker_settings(&world.settings) };
    let open = std::thread::spawn(move || HostProvider::docker(settings, runtime()).unwrap()).join().unwrap();
    let handle = open.ensure(&spec(SessionId::generate())).await.unwrap();
    assert!(reaches(&open, &handle, &gateway, one).await);
    assert!(!reaches(&open, &handle, &gateway, two).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_docker_ended_is_started_again_with_its_network_closed() {
    let Some(world) = worlds() else { return };
    let handle = world.session().await;
    world.sh(&handle, "echo kept > file").await;
    world.provider.serve(&handle, FENCE, sh("exec sleep 1000")).await.unwrap();
    engine(&["kill", &name(&handle)]);
    eventually("it is over", async || world.provider.inspect(handle.session).await.unwrap() == Status::Idle).await;
    assert_eq!(world.sh(&handle, "cat file").await, (Exit::Code(0), "kept\n".to_owned()));
    let host = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let gateway = engine(&["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", &name(&handle)]);
    assert!(!reaches(&world.provider, &handle, &gateway, host.local_addr().unwrap().port()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_there_is_taken_only_for_the_same_files_of_the_same_session() {
    let Some(world) = worlds() else { return };
    let handle = world.session().await;
    let id = || engine(&["inspect", "-f", "{{.Id}}", &name(&handle)]);
    let first = id();
    assert_eq!(world.again().ensure(&spec(handle.session)).await.unwrap(), handle);
    assert_eq!(id(), first, "the very same");
    // Its files are made anew: what it has mounted is none of theirs.
    // The second knows the container already, and asks Docker no more.
    for server in [world.again(), world.provider.clone()] {
        server.ensure(&spec(handle.session)).await.unwrap();
        let before = id();
        fs::remove_dir_all(world.sandbox(&handle).dir).unwrap();
        server.ensure(&spec(handle.session)).await.unwrap();
        assert_ne!(id(), before);
        assert_eq!(run(&server, &handle, sh("touch here")).await.0, Exit::Code(0));
    }

    // A stranger's of the same name is left alone.
    let other = SessionId::generate();
    let stranger = engine(&["create", "--name", &format!("alpine-{other}"), IMAGE, "true"]);
    assert!(matches!(world.provider.ensure(&spec(other)).await, Err(ProviderError::Permanent { .. })));
    world.provider.destroy(other, FENCE).await.unwrap();
    assert_eq!(engine(&["inspect", "-f", "{{.Id}}", &stranger]), stranger);
    engine(&["rm", &stranger]);
}

/// Of this place, of this session's name, and running, with one label that is another's.
fn impostor(world: &World, handle: &Handle, label: &str) -> String {
    let labels = engine(&["inspect", "-f", "{{json .Config.Labels}}", &name(handle)]);
    let mut labels: std::collections::BTreeMap<String, String> = serde_json::from_str(&labels).unwrap();
    let before = labels.insert(label.to_owned(), "another".to_owned());
    assert!(before.is_some(), "{label}");
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("--label={name}={value}")).collect();
    engine(&["rm", "-f", &name(handle)]);
    let network = format!("--network=alpine-{}", &world.provider.inner.root_id[..8]);
    let (name, user) = (format!("--name={}", name(handle)), "--user=65534:65534");
    let mut arguments = vec!["run", "--detach", "--init", &name, user, &network];
    arguments.extend(labels.iter().map(String::as_str));
    arguments.extend([IMAGE, "sleep", "infinity"]);
    engine(&arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_another_tenant_session_or_generation_is_replaced_and_never_run_in() {
    let Some(world) = worlds() else { return };
    let handle = world.session().await;
    for label in ["alpine.tenant", "alpine.session", "alpine.generation"] {
        for by_a_command in [false, true] {
            let another = impostor(&world, &handle, label);
            let again = world.again();
            if !by_a_command {
                again.ensure(&spec(handle.session)).await.unwrap();
                assert_ne!(engine(&["inspect", "-f", "{{.Id}}", &name(&handle)]), another, "{label}");
            }
            assert_eq!(run(&again, &handle, sh("touch here")).await.0, Exit::Code(0), "{label}");
            assert!(world.sandbox(&handle).workspace().join("here").exists(), "{label}: it ran elsewhere");
            assert_eq!(engine(&["ps", "-aq", "--no-trunc", "--filter", &format!("id={another}")]), "", "{label}");
            fs::remove_file(world.sandbox(&handle).workspace().join("here")).unwrap();
        }
    }
    // Of another place it is not this server's to remove, whatever else it says.
    let another = impostor(&world, &handle, "alpine.root");
    let again = world.again();
    assert!(matches!(again.ensure(&spec(handle.session)).await, Err(ProviderError::Permanent { .. })));
    again.destroy(handle.session, FENCE).await.unwrap();
    assert_eq!(engine(&["inspect", "-f", "{{.State.Running}}", &another]), "true");
    engine(&["rm", "-f", &another]);
}

/// The fence keeps living workers apart. What a dead one has asked of Docker may yet be done.
#[tokio::test(flavor = "multi_thread")]
async fn of_ten_containers_made_at_once_for_one_session_one_is_made_and_taken_by_all() {
    let Some(world) = worlds() else { return };
    let handle = world.session().await;
    let sandbox = world.sandbox(&handle);
    let meta = sandbox.meta().unwrap();
    for _ in 0..3 {
        engine(&["rm", "-f", &name(&handle)]);
        let providers: Vec<HostProvider> = (0..10).map(|_| world.again()).collect();
        std::thread::scope(|scope| {
            for provider in &providers {
                scope.spawn(|| provider.inner.walls.raise(walls::Place { sandbox: &sandbox, meta: &meta }).unwrap());
            }
        });
        assert_eq!(engine(&["ps", "-q", "--filter", &format!("name={}", name(&handle))]).lines().count(), 1);
        assert_eq!(run(&providers[0], &handle, sh("touch here")).await.0, Exit::Code(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_without_files_is_listed_and_removed() {
    let Some(world) = worlds() else { return };
    let handle = world.session().await;
    fs::remove_dir_all(world.sandbox(&handle).dir).unwrap();
    world.provider.inner.slots.release(handle.session).unwrap();
    let listed = world.provider.list().await.unwrap();
    assert_eq!((listed[0].session, listed[0].tenant.as_str(), listed[0].fence), (handle.session, "team", FENCE));
    assert_eq!(world.provider.inspect(handle.session).await.unwrap(), Status::Idle);
    world.provider.destroy(handle.session, FENCE).await.unwrap();
    assert_eq!(world.provider.inspect(handle.session).await.unwrap(), Status::Absent);
    assert_eq!(engine(&["ps", "-aq", "--filter", &format!("name={}", name(&handle))]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_docker_begins_too_late_does_nothing() {
    let Some(world) = worlds() else { return };
    let handle = world.session().await;
    let sandbox = world.sandbox(&handle);
    let meta = sandbox.meta().unwrap();
    let uid = format!("{0}:{0}", meta.uid.unwrap());
    // As it was asked for under the fence before, by a worker that is gone; Docker was slow.
    let late = |run: &str| {
        engine(&["exec", "--user", &uid, "--env", &format!("ALPINE_EXEC={run}"), &name(&handle), "sh", "-c", &late_script(run)])
    };
    fs::write(sandbox.go().join("6.a"), "").unwrap();
    assert_eq!(late("6.a"), "it ran", "with its permission");
    fs::write(sandbox.go().join("6.b"), "").unwrap();
    assert_eq!(world.sh(&handle, "true").await.0, Exit::Code(0));
    assert_eq!(late("6.b"), "", "the newer worker has taken it away");
    assert_eq!(fs::read_dir(sandbox.go()).unwrap().count(), 0, "nor is anything of the newer one's left");
    assert_ne!(world.sh(&handle, "touch /run/alpine/go/7.c").await.0, Exit::Code(0), "a session permits nothing itself");
}

fn late_script(run: &str) -> String {
    format!("[ -e /run/alpine/go/{run} ] || exit 0; echo it ran")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_nothing_but_its_own_programs() {
    let Some(world) = worlds() else { return };
    let handle = world.session().await;
    let id = || engine(&["inspect", "-f", "{{.Id}} {{.State.Pid}} {{.State.Running}}", &name(&handle)]);
    let before = id();
    let (_, text) = world
        .sh(&handle, "kill -KILL 1; pkill sleep; for p in /proc/[0-9]*; do kill -KILL ${p#/proc/} 2>/dev/null; done; echo still")
        .await;
    assert!(!text.contains("still"), "it ended itself: {text}");
    assert_eq!(id(), before);
    assert_eq!(world.sh(&handle, "cat /dev/zero | head -c 1000 >/proc/1/fd/1 && echo written").await.1.matches("written").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_asked_of_the_outside_only() {
    let Some(world) = worlds() else { return };
    let (mine, other) = (world.session().await, world.session().await);
    let (_, text) = world.sh(&mine, "cat /etc/resolv.conf").await;
    assert!(text.starts_with("nameserver ") && !text.contains("127.0.0.11"), "{text}");
    let ask = format!("python3 -c \"import socket; print(socket.gethostbyname('{}'))\"", name(&other));
    assert_ne!(world.sh(&mine, &ask).await.0, Exit::Code(0), "a neighbour's name is nobody's");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_one_place_may_start_at_once() {
    let Some(world) = worlds() else { return };
    for _ in 0..3 {
        start_at_once(&world).await;
    }
}

async fn start_at_once(world: &World) {
    remove_network(&world.provider.inner.root_id);
    let starting: Vec<_> = (0..8)
        .map(|_| {
            let settings = docker_settings(&world.settings);
            std::thread::spawn(move || HostProvider::docker(settings, runtime()).unwrap())
        })
        .collect();
    for one in starting {
        let (provider, session) = (one.join().unwrap(), SessionId::generate());
        provider.ensure(&spec(session)).await.unwrap();
        provider.destroy(session, FENCE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_limit_is_none() {
    if docker().is_none() {
        return;
    }
    let none = Limits { processes: 0, memory: 0, disk: 0, files: 0, patience: Duration::from_millis(300), ..Limits::default() };
    let world = World::with(Mode::Docker, |settings| settings.limits = none);
    let handle = world.session().await;
    assert_eq!(world.sh(&handle, "sleep 2; echo fine").await, (Exit::Code(0), "fine\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_and_the_next_command_at_once_are_one_after_the_other() {
    let Some(world) = worlds() else { return };
    let handle = world.session().await;
    for _ in 0..5 {
        world.provider.serve(&handle, FENCE, sh("exec sleep 1000")).await.unwrap();
        world.provider.stop(&handle, FENCE, Duration::from_secs(5)).await.unwrap();
        assert_eq!(world.running(&handle), 0);
        assert_eq!(world.sh(&handle, "echo fine").await, (Exit::Code(0), "fine\n".to_owned()));
    }
}

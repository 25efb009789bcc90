//! Hostile repository URLs and branches, each sent to a real server whose every program and connection is traced.
//!
//! In namespaces of its own the test has the private addresses on its loopback, so that a connection to them
//! would succeed, a name server that lies, and a git server on an address that counts as public.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::HashSet,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use alpine_tests::{
    World, base, bins,
    git_repo::git,
    git_server::GitServer,
    hostile::{
        HOSTILE, MARK, PRIVATE, PUBLIC, PUBLIC_V6, RESOLVER,
        corpus::{self, Case, Expect},
        dns, remote,
        shapes::Known,
        trace::{Connection, Run, Trace},
    },
    pki::Pki,
    server::TRACE,
};

const TO_THE_END: Duration = Duration::from_secs(240);
const HOSTS: &str = "127.0.0.1 localhost\n127.0.0.1 hosts4.example\n::1 hosts6.example\n169.254.169.254 metadata.google.internal\n";

#[test]
fn no_hostile_repository_runs_a_program_of_its_own_or_reaches_a_private_address() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: it needs root, for namespaces of its own");
        return;
    }
    let dir = base::fresh("hostile");
    std::fs::write(dir.join("hosts"), HOSTS).unwrap();
    std::fs::write(dir.join("resolv.conf"), format!("nameserver {RESOLVER}\noptions timeout:1 attempts:1\n")).unwrap();
    for file in ["hosts", "resolv.conf"] {
        std::fs::set_permissions(dir.join(file), std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let mut setup = String::from("set -e\nip link set lo up\n");
    for address in PRIVATE.iter().chain(&[PUBLIC, PUBLIC_V6, HOSTILE]) {
        setup.push_str(&format!("ip addr add {address}/{} dev lo\n", if address.contains(':') { "128" } else { "32" }));
    }
    for file in ["hosts", "resolv.conf"] {
        setup.push_str(&format!("mount --bind '{}' /etc/{file}\n", dir.join(file).display()));
    }
    setup.push_str("exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--", "sh", "-c", &setup, "sh"]).arg(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "in_namespaces_of_its_own", "--nocapture"]);
    command.env("ALPINE_TEST_BIN_DIR", bins::path("alpine-server").parent().unwrap());
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    let output = command.output().expect("unshare runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    base::remove(&dir);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    eprintln!("{}", said.lines().filter(|line| line.starts_with("hostile: ")).collect::<Vec<_>>().join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the test above, which starts it"]
async fn in_namespaces_of_its_own() {
    let stage = Stage::set().await;
    let begun = Instant::now();
    let cases = corpus::all();
    assert!(cases.len() >= 500, "{}", cases.len());
    let mut known = Known::default();
    let mut running = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        if let Some(operation) = stage.send(number, case).await {
            running.push((case, operation));
            known.urls.insert(case.url.clone());
            known.branches.insert(case.branch.clone());
        }
    }
    let refused = cases.len() - running.len();
    println!("hostile: sent after {:.1} s", begun.elapsed().as_secs_f32());
    assert_eq!(stage.world.db.count("sessions").await, i64::try_from(running.len()).unwrap(), "what is refused is not stored");
    stage.tell_the_cli(&cases).await;
    println!("hostile: told the CLI after {:.1} s", begun.elapsed().as_secs_f32());
    for (case, operation) in &running {
        stage.fails(case, operation).await;
    }
    println!("hostile: all failed after {:.1} s", begun.elapsed().as_secs_f32());
    // The positive control: what is good is cloned, over IPv4 and over IPv6, and both are seen.
    for url in [corpus::good(), corpus::good().replace("good.test", "six.test"), stage.trap_url()] {
        stage.is_cloned(&url).await;
        known.urls.insert(url);
    }
    known.branches.insert("main".into());
    let trace = Trace::read(&stage.trace);
    let (programs, connections) = (foreign_programs(&trace, &known, &cases), stray_connections(&trace));
    assert!(
        programs.is_empty() && connections.is_empty(),
        "{} command lines of no form of ours: {:#?}\n{} connections astray: {:#?}",
        programs.len(),
        &programs[..programs.len().min(5)],
        connections.len(),
        &connections[..connections.len().min(10)]
    );
    println!(
        "hostile: {} pairs, {refused} refused at once, {} tried; {} programs run, {} connections of git; {:.1} s",
        cases.len(),
        running.len(),
        trace.runs.len(),
        trace.by_git().count(),
        begun.elapsed().as_secs_f32()
    );
}

struct Stage {
    world: World,
    _git: GitServer,
    _git_v6: GitServer,
    trace: std::path::PathBuf,
}

impl Stage {
    async fn set() -> Self {
        dns::start();
        let dir = base::fresh("remotes");
        let names = ["good.test", "six.test", "trap.test", "*.rebind.test", "*.hostile.test", "*.private.test", "localhost", "127.0.0.1"];
        let pki = Pki::create_for(&dir, &names);
        let git = GitServer::start_at(&format!("{PUBLIC}:443"), dir.join("git"), &pki);
        let git_v6 = GitServer::start_at(&format!("[{PUBLIC_V6}]:443"), dir.join("git"), &pki);
        git.with_files(&format!("org/{MARK}"), &[("README.md", "hello\n")]);
        make_trap(&git, &dir.join("git"));
        remote::start(&pki);
        // What a private address would answer: it is there to be reached.
        for at in ["127.0.0.1:443", "[::1]:443", "10.0.0.5:443", "169.254.169.254:443", "169.254.169.254:80", "[fd00:ec2::254]:443"] {
            GitServer::start_at(at, dir.join("git"), &pki);
        }
        let trace = dir.join("trace");
        let ca = pki.ca.display().to_string();
        let traced = trace.display().to_string();
        let settings = [
            (TRACE, traced.as_str()),
            ("ALPINE_GIT_CA_FILE", ca.as_str()),
            ("ALPINE_GIT_REWRITE", ""),
            ("ALPINE_GIT_ALLOW_HOSTS", ""),
            ("ALPINE_LOG", "warn"),
        ];
        let world = World::without_repositories(&settings).await;
        Self { world, _git: git, _git_v6: git_v6, trace }
    }

    fn trap_url(&self) -> String {
        format!("https://good.test/org/{MARK}trap.git")
    }

    /// The operation, if it is taken; if not, it is refused as it has to be.
    async fn send(&self, number: usize, case: &Case) -> Option<String> {
        let reply = self.world.api("ann").up(&format!("k{number}"), &case.url, &case.branch).await;
        match case.expect {
            Expect::Refused(code) => {
                assert_eq!(
                    (reply.status.as_u16(), reply.body["error_code"].as_str()),
                    (status(code), Some(code)),
                    "{case:?}: {}",
                    reply.text
                );
                let shown: String = case.url.chars().take(60).collect();
                assert!(case.expect != corpus::URL || shown.len() < 12 || !reply.text.contains(&shown), "echoed: {}", reply.text);
                None
            }
            Expect::Fails => {
                assert_eq!(reply.status.as_u16(), 202, "{case:?}: {}", reply.text);
                Some(reply.body["operation_id"].as_str().unwrap().to_owned())
            }
        }
    }

    async fn ended(&self, url: &str, operation: &str) -> serde_json::Value {
        alpine_tests::until(&format!("the operation ends: {url}"), TO_THE_END, || async {
            let body = self.world.api("ann").get(&format!("/v1/operations/{operation}")).await.body;
            (body["status"] != "queued" && body["status"] != "running").then_some(body)
        })
        .await
    }

    async fn fails(&self, case: &Case, operation: &str) {
        let body = self.ended(&case.url, operation).await;
        assert_eq!(body["status"], "failed", "{case:?}: {body}");
    }

    /// It is cloned; what is served after that is not looked at.
    async fn is_cloned(&self, url: &str) {
        let reply = self.world.api("ann").up(&format!("good {url}").replace([' ', '/'], "-"), url, "main").await;
        let session = reply.body["session_id"].as_str().unwrap_or_else(|| panic!("{}", reply.text)).to_owned();
        alpine_tests::until(&format!("it is cloned: {url}"), TO_THE_END, || async {
            let page = self.world.api("ann").get(&format!("/v1/sessions/{session}/events")).await.text;
            assert!(!page.contains("\"failing\"") || page.contains("\"installing\""), "{url}: {page}");
            page.contains("\"installing\"").then_some(())
        })
        .await;
    }

    /// A hundred of those that are refused, as a person would type them.
    async fn tell_the_cli(&self, cases: &[Case]) {
        let told = |case: &&Case| matches!(case.expect, Expect::Refused(_)) && !format!("{}{}", case.url, case.branch).contains('\0');
        let cases: Vec<&Case> = cases.iter().filter(told).collect();
        let step = cases.len() / 100;
        for case in cases.into_iter().step_by(step).take(100) {
            let Expect::Refused(code) = case.expect else { continue };
            let branch = format!("--branch={}", case.branch);
            let alpine = self.world.alpine("ann").args(&["up", "--json", "--no-browser", "--public", &branch, "--", &case.url]);
            alpine.run().await.refused(1, code);
        }
    }
}

fn status(code: &str) -> u16 {
    if code == "ERR_BRANCH_REQUIRED" { 400 } else { 422 }
}

/// A repository that is good to clone and names other hosts in every way that git could be made to follow.
fn make_trap(server: &GitServer, root: &Path) {
    let name = format!("org/{MARK}trap");
    let modules = "[submodule \"x\"]\n\tpath = x\n\turl = https://10.0.0.5/x.git\n";
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    let config = "[lfs]\n\turl = https://10.0.0.5/lfs\n";
    server.with_files(
        &name,
        &[(".gitmodules", modules), (".gitattributes", "*.bin filter=lfs\n"), (".lfsconfig", config), ("a.bin", lfs), ("big", "big\n")],
    );
    let path = root.join(format!("{name}.git"));
    let blob = git(&path, &["rev-parse", "main:big"]);
    for (key, value) in [
        ("uploadpack.advertiseBundleURIs", "true"),
        ("bundle.version", "1"),
        ("bundle.mode", "all"),
        ("bundle.x.uri", "https://10.0.0.5/x.bundle"),
        ("uploadpack.allowFilter", "true"),
    ] {
        git(&path, &["config", key, value]);
    }
    git(&path, &["config", "uploadpack.blobPackfileUri", &format!("{blob} {} https://10.0.0.5/x.pack", "2".repeat(40))]);
}

/// Each program that was run as we would never run it.
fn foreign_programs(trace: &Trace, known: &Known, cases: &[Case]) -> Vec<String> {
    let mut objections: Vec<String> = trace.runs.iter().filter_map(|run| known.objection(run)).collect();
    let refused = |case: &&Case| matches!(case.expect, Expect::Refused(_));
    let word = |case: &Case| if case.expect == corpus::URL { case.url.clone() } else { case.branch.clone() };
    let words: HashSet<String> = cases.iter().filter(refused).map(word).collect();
    let seen = |run: &&Run| run.argv.iter().any(|word| word.len() > 6 && words.contains(word));
    objections.extend(trace.runs.iter().filter(seen).map(|run| format!("what was refused stands in {run:?}")));
    let ls_remote = trace.runs.iter().filter(|run| run.argv.iter().any(|word| word == "ls-remote")).count();
    assert!(ls_remote > 60, "{ls_remote}: they were tried");
    objections
}

/// Each connection that is not to where it has to be.
fn stray_connections(trace: &Trace) -> Vec<&Connection> {
    let public: Vec<IpAddr> = [PUBLIC, PUBLIC_V6, HOSTILE].map(|ip| ip.parse().unwrap()).to_vec();
    for address in &public {
        let times = trace.by_git().filter(|c| c.to.ip() == *address).count();
        assert!(times >= 2, "{address} was reached {times} times: the control is not seen");
    }
    // Git looks no name up by itself, so there is no UDP. The server does (to the name server, and without a
    // packet to those that it sorts), and it asks its sessions' ports.
    let of_git = |c: &Connection| c.tcp && c.to.port() == 443 && public.contains(&c.to.ip());
    let of_others = |c: &Connection| !c.tcp || (c.to.ip().is_loopback() && c.to.port() > 1024);
    trace.connections.iter().filter(|c| if c.is_gits() { !of_git(c) } else { !of_others(c) }).collect()
}

#[test]
fn the_trace_is_read_as_it_is() {
    let trace = Trace::parse(concat!(
        "10 execve(\"/bin/git\", [\"git\", \"ls-remote\", \"--\", \"a\\n\\303\\251\\\"\"], [\"X=1\"]) = 0\n",
        "10 clone3({flags=CLONE_VM} <unfinished ...>\n",
        "11 connect(5<TCP:[1]>, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr(\"1.2.3.4\")}, 16 <unfinished ...>\n",
        "10 <... clone3 resumed>, 88) = 11\n",
        "11 <... connect resumed>) = -1 EINPROGRESS (Operation now in progress)\n",
        "11 connect(6<UDPv6:[2]>, {sa_family=AF_INET6, sin6_port=htons(53), sin6_flowinfo=htonl(0), ",
        "inet_pton(AF_INET6, \"::1\", &sin6_addr), sin6_scope_id=0}, 28) = 0\n",
        "12 connect(5<TCP:[1]>, {sa_family=AF_INET, sin_port=htons(22), sin_addr=inet_addr(\"1.2.3.4\")}, 16) = 0\n",
        "10 vfork() = 12\n",
        "11 connect(7<UNIX-STREAM:[3]>, {sa_family=AF_UNIX, sun_path=\"/x\"}, 110) = 0\n",
    ));
    assert_eq!(trace.runs[0].argv, ["git", "ls-remote", "--", "a\né\""]);
    let git = |tcp, to: &str| Connection { program: "git".into(), tcp, to: to.parse().unwrap() };
    assert_eq!(trace.connections, [git(true, "1.2.3.4:443"), git(false, "[::1]:53"), git(true, "1.2.3.4:22")]);
}

#[test]
fn a_command_line_of_another_form_is_objected_to() {
    let mut known = Known::default();
    let url = corpus::good();
    known.urls.insert(url.clone());
    known.branches.insert(format!("{MARK}-x"));
    let objects = |program: &str, argv: &[&str]| {
        known.objection(&Run { program: program.to_owned(), argv: argv.iter().map(|word| (*word).to_owned()).collect() }).is_some()
    };
    let name = format!("refs/heads/{MARK}-x");
    assert!(!objects("/bin/git", &["git", "ls-remote", "--quiet", "--", &url, &name]));
    assert!(objects("/bin/git", &["git", "ls-remote", "--quiet", &url, &name]), "without the dashes");
    assert!(objects("/bin/git", &["git", "ls-remote", "--quiet", "--upload-pack=id", "--", &url, &name]));
    assert!(objects("/bin/git", &["git", "clone", "--", &url]));
    assert!(objects("/bin/sh", &["sh", "-c", &format!("git ls-remote {url}")]));
    assert!(objects("/usr/bin/id", &["id", &format!("{MARK}-x")]));
    assert!(objects("/usr/bin/ssh", &["ssh", "-oProxyCommand=id", "h"]));
}

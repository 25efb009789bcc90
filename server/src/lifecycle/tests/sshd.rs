//! A real `sshd` on loopback that lets one key run git and nothing else. The end-to-end tests have it too.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

#[derive(Debug)]
pub struct Sshd {
    pub dir: tempfile::TempDir,
    pub port: u16,
    child: Child,
}

pub fn run(program: &str, args: &[&str]) -> String {
    let output =
        Command::new(program).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

impl Sshd {
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::start_at("127.0.0.1", port)
    }

    pub fn start_at(address: &str, port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        for key in ["host", "deploy", "stranger"] {
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", key, "-f", &path(key)]);
        }
        let git_only = r#"command="git-shell -c \"$SSH_ORIGINAL_COMMAND\"",restrict"#;
        fs::write(path("authorized"), format!("{git_only} {}", text(&dir.path().join("deploy.pub")))).unwrap();
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let config = format!(
            "ListenAddress {address}:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nPermitRootLogin prohibit-password\nAcceptEnv GIT_PROTOCOL\n",
            path("host"),
            path("authorized")
        );
        fs::write(path("config"), config).unwrap();
        let log = fs::File::create(path("log")).unwrap();
        let sshd = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].into_iter().find(|p| Path::new(p).exists()).expect("sshd is installed");
        let child = Command::new(sshd).args(["-D", "-e", "-f", &path("config")]).stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let begun = Instant::now();
        while TcpStream::connect((address, port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "sshd does not listen: {}", text(&dir.path().join("log")));
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { dir, port, child }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The text of a private key: `deploy` may read, `stranger` may not.
    pub fn key(&self, name: &str) -> String {
        text(&self.path(name))
    }

    /// What `known_hosts` says of `name` when it has this host's key.
    pub fn known_as(&self, name: &str) -> String {
        Self::line(name, &self.path("host.pub"))
    }

    /// The same with a key that is not this host's.
    pub fn mistaken_as(&self, name: &str) -> String {
        Self::line(name, &self.path("stranger.pub"))
    }

    fn line(name: &str, key: &Path) -> String {
        let key = text(key);
        let words: Vec<&str> = key.split(' ').take(2).collect();
        format!("{name} {}\n", words.join(" "))
    }

    /// A repository with one commit on each branch; its path, and the commit.
    pub fn repository(&self, branches: &[&str]) -> (String, String) {
        let path = self.path("repo.git");
        let at = path.display().to_string();
        run("git", &["init", "--quiet", "--bare", "--initial-branch=main", &at]);
        let tree = run("git", &["-C", &at, "hash-object", "-t", "tree", "-w", "/dev/null"]);
        let author = ["-c", "user.name=Ann", "-c", "user.email=ann@sample.test"];
        let commit = run("git", &[&["-C", &at], &author[..], &["commit-tree", "-m", "one", &tree]].concat());
        for branch in branches {
            run("git", &["-C", &at, "update-ref", &format!("refs/heads/{branch}"), &commit]);
        }
        (at, commit)
    }

    pub fn log(&self) -> String {
        text(&self.path("log"))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! Bare repositories, made without a work tree.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A bare repository on disk.
#[derive(Debug, Clone)]
pub struct GitRepo {
    pub path: PathBuf,
}

impl GitRepo {
    /// An empty repository whose HEAD names `main`.
    pub fn create(path: &Path) -> Self {
        std::fs::create_dir_all(path).unwrap();
        git(path, &["init", "--quiet", "--bare", "--initial-branch=main", "."]);
        Self { path: path.to_path_buf() }
    }

    /// A commit with exactly these files on `branch`, whatever the branch held before; its id.
    pub fn commit(&self, branch: &str, files: &[(&str, &str)]) -> String {
        let reference = format!("refs/heads/{branch}");
        let mut stream = format!("commit {reference}\ncommitter Ann <ann@sample.test> 1700000000 +0000\n");
        stream.push_str(&data(&format!("{} files on {branch}", files.len())));
        stream.push_str("deleteall\n");
        for (path, text) in files {
            stream.push_str(&format!("M 100644 inline {path}\n{}", data(text)));
        }
        let mut import = command(&self.path).args(["fast-import", "--quiet", "--force"]).stdin(Stdio::piped()).spawn().expect("git runs");
        import.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
        assert!(import.wait().unwrap().success(), "git fast-import");
        git(&self.path, &["rev-parse", "--verify", &reference])
    }
}

fn data(text: &str) -> String {
    format!("data {}\n{text}\n", text.len())
}

/// What git prints for these arguments, run in `dir`.
pub fn git(dir: &Path, args: &[&str]) -> String {
    let output = command(dir).args(args).output().expect("git runs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new("git");
    // Workspaces may belong to another user; the tests look into them all the same.
    command.args(["-c", "safe.directory=*"]).current_dir(dir);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

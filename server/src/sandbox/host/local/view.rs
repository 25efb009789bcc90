//! What is visible inside bubblewrap: an allow-list, read-only but for the sandbox's own folders. Nothing of
//! /root, /home, /var, /run, other sessions or the server's data.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
};

use super::super::layout::{GUEST_HOME, GUEST_TMP, GUEST_WORKSPACE, Sandbox};

const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// What programs need of /etc to find their libraries, certificates, hosts and the time. No configuration of
/// git, npm or pip: those can hold credentials.
const ETC: [&str; 22] = [
    "ssl",
    "ca-certificates",
    "ca-certificates.conf",
    "pki",
    "crypto-policies",
    "resolv.conf",
    "hosts",
    "host.conf",
    "gai.conf",
    "nsswitch.conf",
    "protocols",
    "services",
    "alternatives",
    "localtime",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "mime.types",
    "fonts",
    "terminfo",
    "magic",
    "shells",
];

/// Bubblewrap's arguments, and the folders that they have made.
#[derive(Default)]
struct View {
    args: Vec<OsString>,
    made: HashSet<PathBuf>,
}

impl View {
    fn push(&mut self, args: &[&OsStr]) {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
    }

    fn bind(&mut self, how: &str, source: &Path, target: &Path) {
        // Left to itself bubblewrap makes the folders above a mount for root only.
        let above: Vec<&Path> = target.ancestors().skip(1).filter(|folder| folder.parent().is_some()).collect();
        for folder in above.into_iter().rev() {
            if self.made.insert(folder.to_owned()) {
                self.push(&["--dir".as_ref(), folder.as_os_str()]);
            }
        }
        self.push(&[how.as_ref(), source.as_os_str(), target.as_os_str()]);
    }

    fn read_only(&mut self, path: &Path) {
        self.bind("--ro-bind-try", path, path);
    }
}

/// Bubblewrap's arguments for the file systems, in the order in which it mounts them.
/// `size`: the most that one of the folders in memory may hold, in bytes.
pub(super) fn arguments(visible: &[PathBuf], sandbox: Option<&Sandbox>, size: Option<u64>) -> Vec<OsString> {
    let mut view = View::default();
    for path in SYSTEM.map(Path::new) {
        match fs::read_link(path) {
            Ok(target) => view.push(&["--symlink".as_ref(), target.as_os_str(), path.as_os_str()]),
            Err(_) => view.read_only(path),
        }
    }
    for name in ETC {
        view.read_only(&Path::new("/etc").join(name));
    }
    // Debian's Java keeps its settings there, by version.
    for entry in fs::read_dir("/etc").into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with("java-")) {
            view.read_only(&entry.path());
        }
    }
    // All of /tmp and /dev/shm is fresh: what the session's user could have put in a lasting /tmp would be
    // in the way of the mounts below, which root makes.
    for arg in ["--proc", "/proc", "--dev", "/dev"] {
        view.args.push(arg.into());
    }
    for folder in ["/dev/shm", "/tmp"] {
        view.args.extend(["--perms", "1777"].map(OsString::from));
        view.args.extend(size.into_iter().flat_map(|size| ["--size".to_owned(), size.to_string()]).map(OsString::from));
        view.args.extend(["--tmpfs", folder].map(OsString::from));
    }
    view.made.insert("/tmp".into());
    for path in shown(visible) {
        view.read_only(&path);
    }
    if let Some(sandbox) = sandbox {
        for name in ["passwd", "group"] {
            view.bind("--ro-bind", &sandbox.etc().join(name), &Path::new("/etc").join(name));
        }
        for (source, target) in [(sandbox.workspace(), GUEST_WORKSPACE), (sandbox.home(), GUEST_HOME), (sandbox.tmp(), GUEST_TMP)] {
            view.bind("--bind", &source, Path::new(target));
        }
    }
    // An ordinary user's server makes the root for the session's own user, who could write to it.
    view.push(&["--remount-ro".as_ref(), "/".as_ref()]);
    view.args
}

/// The visible paths, and where they are links what they lead to; parents before what is in them.
fn shown(visible: &[PathBuf]) -> Vec<PathBuf> {
    let system = |path: &Path| SYSTEM.iter().any(|system| path.starts_with(system));
    let mut shown: Vec<PathBuf> = Vec::new();
    for path in visible {
        let real = path.canonicalize().ok();
        shown.extend([Some(path.clone()), real].into_iter().flatten().filter(|path| !system(path)));
    }
    shown.sort();
    shown.dedup();
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visible_link_brings_its_target_along_and_system_paths_are_not_bound_twice() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("tool-1.2"), dir.path().join("tool"));
        fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert_eq!(shown(&[link.clone(), "/usr/bin/env".into(), link.clone()]), [link, target]);
    }

    #[test]
    fn nothing_of_the_hosts_own_folders_is_in_the_list() {
        // The targets of mounts; folders that are only made are empty.
        let args = arguments(&[], None, None);
        let args: Vec<_> =
            args.windows(2).filter(|pair| pair[0] != "--dir" && pair[0] != "--remount-ro").map(|pair| pair[1].clone()).collect();
        for hidden in
            ["/", "/etc", "/root", "/home", "/var", "/run", "/opt", "/etc/shadow", "/etc/gitconfig", "/etc/npmrc", "/etc/pip.conf"]
        {
            assert!(!args.iter().any(|arg| arg == hidden), "{hidden}");
        }
    }
}

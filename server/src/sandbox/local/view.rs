//! What is visible inside bubblewrap: an allow-list, read-only but for the sandbox's own folders. Nothing of
//! /root, /home, /var, /run, other sessions or the server's data.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
};

use super::layout::{GUEST_HOME, GUEST_TMP, GUEST_WORKSPACE, Sandbox};

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

fn push(args: &mut Vec<OsString>, new: &[&OsStr]) {
    args.extend(new.iter().map(|arg| (*arg).to_owned()));
}

fn read_only(args: &mut Vec<OsString>, path: &Path) {
    push(args, &["--ro-bind-try".as_ref(), path.as_os_str(), path.as_os_str()]);
}

/// Bubblewrap's arguments for the file systems, in the order in which it mounts them.
pub(super) fn arguments(visible: &[PathBuf], sandbox: Option<&Sandbox>) -> Vec<OsString> {
    let mut args = Vec::new();
    for path in SYSTEM.map(Path::new) {
        match fs::read_link(path) {
            Ok(target) => push(&mut args, &["--symlink".as_ref(), target.as_os_str(), path.as_os_str()]),
            Err(_) => read_only(&mut args, path),
        }
    }
    for name in ETC {
        read_only(&mut args, &Path::new("/etc").join(name));
    }
    // Debian's Java keeps its settings there, by version.
    for entry in fs::read_dir("/etc").into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with("java-")) {
            read_only(&mut args, &entry.path());
        }
    }
    // All of /tmp, /dev/shm are fresh: what the session's user could have put in a lasting /tmp would be
    // in the way of the mounts below, which root makes.
    for arg in ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/dev/shm", "--perms", "1777", "--tmpfs", "/tmp"] {
        args.push(arg.into());
    }
    for path in shown(visible) {
        // Parents that bubblewrap makes by itself are closed to all but root.
        let parents: Vec<&Path> = path.ancestors().skip(1).filter(|parent| *parent != Path::new("/")).collect();
        for parent in parents.into_iter().rev() {
            push(&mut args, &["--perms".as_ref(), "0755".as_ref(), "--dir".as_ref(), parent.as_os_str()]);
        }
        read_only(&mut args, &path);
    }
    if let Some(sandbox) = sandbox {
        for name in ["passwd", "group"] {
            let (source, target) = (sandbox.etc().join(name), Path::new("/etc").join(name));
            push(&mut args, &["--ro-bind".as_ref(), source.as_os_str(), target.as_os_str()]);
        }
        for (source, target) in [(sandbox.workspace(), GUEST_WORKSPACE), (sandbox.home(), GUEST_HOME), (sandbox.tmp(), GUEST_TMP)] {
            push(&mut args, &["--bind".as_ref(), source.as_os_str(), target.as_ref()]);
        }
    }
    args
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
        let args = arguments(&[], None);
        for hidden in
            ["/", "/etc", "/root", "/home", "/var", "/run", "/opt", "/etc/shadow", "/etc/gitconfig", "/etc/npmrc", "/etc/pip.conf"]
        {
            assert!(!args.iter().any(|arg| arg == hidden), "{hidden}");
        }
    }
}

//! System calls that nothing in bubblewrap needs, and that have been ways out of containers: they are refused.
//! What is not named is allowed: namespaces, users and groups do the rest.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};

use super::super::layout::replace;

/// Key rings reach beyond users and namespaces; the rest is for system administrators, debuggers of kernels, or
/// has been the way in too often.
const REFUSED: &[i64] = &[
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
];
/// With a new user namespace come all capabilities in it, and with them much of the kernel.
const NEW_USERS: u64 = libc::CLONE_NEWUSER as u64;
/// The second way of calling the same on x86-64.
const X32: i64 = 0x4000_0000;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The filters' files below `root`, made anew, in the order in which bubblewrap is to load them.
pub(super) fn prepare(root: &Path) -> io::Result<[PathBuf; 2]> {
    let dir = root.join(".seccomp");
    super::super::layout::make_dir(&dir, 0o700)?;
    let paths = [dir.join("refused"), dir.join("absent")];
    for (path, program) in paths.iter().zip([refused(), absent()]) {
        let bytes = bytes(&program.map_err(io::Error::other)?);
        if fs::read(path).ok().as_ref() != Some(&bytes) {
            replace(path, &bytes, 0o600)?;
        }
    }
    Ok(paths)
}

fn refused() -> Result<BpfProgram, Error> {
    let has = |argument, mask, value| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    for call in [libc::SYS_clone, libc::SYS_unshare] {
        rules.insert(call, vec![SeccompRule::new(vec![has(0, NEW_USERS, NEW_USERS)?])?]);
    }
    // Words put into the mouth of whoever has the terminal.
    rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(vec![has(1, u64::from(u32::MAX), libc::TIOCSTI)?])?]);
    compile(rules, libc::EPERM)
}

/// Its flags are out of a filter's sight. Told that there is no such call every C library takes `clone`.
fn absent() -> Result<BpfProgram, Error> {
    compile(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)
}

fn compile(mut rules: BTreeMap<i64, Vec<SeccompRule>>, error: i32) -> Result<BpfProgram, Error> {
    if cfg!(target_arch = "x86_64") {
        rules.extend(rules.clone().into_iter().map(|(call, rule)| (call | X32, rule)));
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(error.unsigned_abs()), arch)?;
    Ok(BpfProgram::try_from(filter)?)
}

/// As the kernel has them in memory.
fn bytes(program: &BpfProgram) -> Vec<u8> {
    let instruction = |i: &seccompiler::sock_filter| {
        let ([a, b], [c, d, e, f]) = (i.code.to_ne_bytes(), i.k.to_ne_bytes());
        [a, b, i.jt, i.jf, c, d, e, f]
    };
    program.iter().flat_map(instruction).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_start_at_once_all_have_their_filters() {
        for _ in 0..20 {
            let root = tempfile::tempdir().unwrap();
            std::thread::scope(|scope| {
                let all: Vec<_> = (0..8).map(|_| scope.spawn(|| prepare(root.path()))).collect();
                for one in all {
                    assert!(one.join().unwrap().unwrap().iter().all(|path| path.is_file()));
                }
            });
            assert_eq!(fs::read_dir(root.path().join(".seccomp")).unwrap().count(), 2, "nothing is left of the writing");
        }
    }
}

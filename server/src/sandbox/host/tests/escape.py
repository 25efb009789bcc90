# Tries to reach what is not its own, and prints what it reached. On stdin: a JSON object of what there is.
import ctypes, errno, fcntl, glob, json, os, pty, resource, socket, stat, sys, termios

inherited = sorted(set(os.listdir("/proc/self/fd")) - {"0", "1", "2"})

there = json.load(sys.stdin)
pid, data, secret = there["pid"], there["data"], there["secret"].encode()
libc = ctypes.CDLL(None, use_errno=True)

def has(path):
    with open(path, "rb") as file:
        return secret in file.read(1 << 20)

def anywhere(pattern):
    found = False
    for path in glob.glob(pattern):
        try:
            found = found or (not path.startswith(f"/proc/{os.getpid()}/") and has(path))
        except OSError:
            pass
    return found

def through_link():
    os.symlink(data, "link-to-data")
    return has("link-to-data")

def connect(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    return True

def syscall(number, *args):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return True

def not_refused(number, *args):
    # Whatever else is wrong with the arguments, the filter comes first.
    try:
        return syscall(number, *args)
    except OSError as error:
        return error.errno not in (errno.EPERM, errno.ENOSYS)

def in_child(attempt):
    child = os.fork()
    if child == 0:
        os._exit(0 if attempt() else 1)
    return os.waitpid(child, 0)[1] == 0

def by_clone():
    child = libc.syscall(ctypes.c_long(56), ctypes.c_long(0x10000000 | 17), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0))
    if child == 0:
        os._exit(0)
    return child > 0 and os.waitpid(child, 0)[0] == child

def write(path):
    os.close(os.open(path, os.O_WRONLY))
    return True

def put_words():
    _, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSTI, b"x")
    return True

def status(line, wanted):
    return wanted not in next(text for text in open("/proc/self/status") if text.startswith(line + ":"))

def become_root():
    os.setuid(0)
    return os.path.exists(data)

tries = {
    "its environment": lambda: has(f"/proc/{pid}/environ"),
    "any environment": lambda: anywhere("/proc/[0-9]*/environ"),
    "any command line": lambda: anywhere("/proc/[0-9]*/cmdline"),
    "its root": lambda: has(f"/proc/{pid}/root{data}"),
    "the first process's root": lambda: has(f"/proc/1/root{data}"),
    "its own root's parent": lambda: has(f"/proc/self/root/..{data}"),
    "its working directory": lambda: bool(os.listdir(f"/proc/{pid}/cwd")),
    "its descriptors": lambda: bool(os.listdir(f"/proc/{pid}/fd")),
    "its maps": lambda: len(open(f"/proc/{pid}/maps").read()) > 0,
    "the data": lambda: has(data),
    "the data through a link": through_link,
    "the other's file": lambda: has(there["other"]),
    "the other's folder": lambda: bool(os.listdir(os.path.dirname(there["other"]))),
    "its own folder's neighbours": lambda: os.path.exists(there["meta"]),
    "a signal": lambda: os.kill(pid, 0) is None,
    "a signal to the other": lambda: os.kill(there["other_pid"], 0) is None,
    "tracing": lambda: syscall(101, 0x4206, pid, 0, 0),
    "the database's socket": lambda: connect(there["socket"]),
    "shared memory": lambda: has(there["shm"]),
    "the host's ipc": lambda: os.readlink("/proc/self/ns/ipc") == there["ipc"],
    "the host's pids": lambda: os.readlink("/proc/self/ns/pid") == there["pids"],
    "the host's cgroups": lambda: os.readlink("/proc/self/ns/cgroup") == there["cgroups"],
    "/sys": lambda: bool(os.listdir("/sys")),
    "docker": lambda: os.path.exists("/var/run/docker.sock") or os.path.exists("/run/docker.sock"),
    # Where the tests' Docker really is. Its mode alone would keep a session out of it.
    "docker's socket": lambda: there["docker"] is not None and connect(there["docker"]),
    "docker's socket in sight": lambda: there["docker"] is not None and os.path.exists(there["docker"]),
    "dbus": lambda: os.path.exists("/run/dbus") or os.path.exists("/var/run/dbus"),
    "/etc/shadow": lambda: os.path.exists("/etc/shadow"),
    "a write to /usr": lambda: write("/usr/bin/env"),
    "a write to the kernel's settings": lambda: write("/proc/sys/kernel/core_pattern"),
    "sysrq": lambda: write("/proc/sysrq-trigger"),
    "the kernel's log": lambda: os.close(os.open("/dev/kmsg", os.O_RDONLY)) is None,
    "memory": lambda: os.path.exists("/dev/mem"),
    "a disk": lambda: any(stat.S_ISBLK(os.stat(path).st_mode) for path in glob.glob("/dev/*")),
    "making a device": lambda: os.mknod("device", stat.S_IFBLK | 0o600, os.makedev(254, 0)) is None,
    "a file made in the root": lambda: os.close(os.open("/made", os.O_CREAT | os.O_WRONLY)) is None,
    "becoming root": become_root,
    "capabilities": lambda: status("CapEff", "0000000000000000"),
    "more capabilities": lambda: status("CapBnd", "0000000000000000"),
    "new privileges": lambda: status("NoNewPrivs", "1"),
    "no filter": lambda: status("Seccomp", "2"),
    "core files": lambda: resource.getrlimit(resource.RLIMIT_CORE) != (0, 0),
    "a terminal": lambda: os.close(os.open("/dev/tty", os.O_RDWR)) is None,
    "words in a terminal": put_words,
    # The one to list them with is the fourth.
    "inherited descriptors": lambda: len(inherited) > 1,
    "mounting": lambda: not_refused(165, b"none", b"/no/such/folder", b"tmpfs", 0, 0),
    "unmounting": lambda: not_refused(166, b"/no/such/folder", 2),
    "a new user namespace": lambda: in_child(lambda: not_refused(272, 0x10000000)),
    "a new user namespace by clone": by_clone,
    "clone3": lambda: not_refused(435, 0, 0),
    "a key ring": lambda: not_refused(250, 0, -3, 1),
    "adding a key": lambda: not_refused(248, b"user", b"a", b"b", 1, -3),
    "requesting a key": lambda: not_refused(249, b"user", b"a", 0, -3),
    "bpf": lambda: not_refused(321, 99, 0, 0),
    "perf": lambda: not_refused(298, 0, 0, 0, 0, 0),
    "userfaultfd": lambda: not_refused(323, -1),
    "io_uring": lambda: not_refused(425, 0, 0),
    "loading a module": lambda: not_refused(313, -1, b"", 0),
    "kexec": lambda: not_refused(246, 0, 0, 0, 99),
    "handles of files": lambda: not_refused(304, -1, 0, 0),
    "setns": lambda: not_refused(308, -1, 0),
}

reached = []
for name, attempt in tries.items():
    try:
        if attempt():
            reached.append(name)
    except OSError:
        pass
print(json.dumps(reached))

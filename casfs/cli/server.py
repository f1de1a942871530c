"""The server: a process beside a daemon that has loaded casfs, and lets commands begin where others have imported for 50 milliseconds.

It forks for each command, as Mercurial's chg and Android's zygote do. The fork becomes what the caller is (arguments, variables, directory,
standard streams, umask, limits, signals), and runs the command; so one command knows nothing of another, and none can harm the server. What
can't be taken on must be equal, or the caller does it alone: user, groups and capabilities, namespaces, the root directory, the program.

    client                              fork                                 server
    its uid must be the server's                                             accepts; compares who the client is; forks
    message --------------------------> compares the program, and takes on
    passes its signals on       <------ READY, and a descriptor of itself
    GO, streams, directory ---------->  runs the command
    ends alike                  <------ EXITED, the code                     SIGNALED, if a signal ended the fork

What the client has open is sent to whom is known to be alive: for as long as a message waits, who reads our output waits as well.
A client that ends before GO has not begun anything, and one that is killed afterwards takes the command with it: the server sees that. A
server that is killed leaves its commands alone, which tell their clients themselves how they ended. It is killed with its daemon.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import locale
import os
import resource
import select
import signal
import socket
import sys
import time
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from casfs.cli.client import DECLINED, EXITED, GO, READY, SERVED, SIGNALED, find_command, peer_of, program_identity
from casfs.cli.main import main as run_here
from casfs.overlay import kernel

_LOADED = (
    *(f"casfs.cli.commands.{name}" for name in sorted(SERVED)),
    *("casfs.changes.broken", "casfs.cli.locked", "casfs.cli.names", "casfs.interpreters.known", "casfs.mounts.mounting"),
    *("casfs.mounts.recovery", "casfs.mounts.refresh", "casfs.venv.image.image"),
    *("_strptime", "packaging.tags", "packaging.utils", "packaging.version", "shutil", "tomli_w", "tomllib"),
)
"""What the commands that it runs import, here or there."""

_STARTS_PROGRAMS = {"add", "lock", "sync"}
"""Commands that may work for long, and whose programs may ask at the caller's terminal, which is not the server's: git for a password.

What they use is the business of the caller's control group (cgroups(7)). To move a process to another one takes the kernel about as long as
a start takes us, so these are declined where it differs; what others use is too little to count.
"""

_CALLERS = 64  # that wait
_PATIENCE_S = 1.0
_MAX_MESSAGE = 8 << 20  # what execve(2) takes is less

_EQUAL = (b"Uid:", b"Gid:", b"Groups:", b"Cap", b"NoNewPrivs:", b"Seccomp:", b"Cpus_allowed:", b"Mems_allowed:")
"""Lines of /proc/PID/status (proc(5)) that a fork can't or may not change."""

_LIMITS = [value for name, value in vars(resource).items() if name.startswith("RLIMIT_")]


class Declined(Exception):
    """The caller has to run the command itself."""


@dataclass(frozen=True, slots=True)
class _Running:
    """A command, by the descriptors that tell of its end and of its caller's."""

    pid: int
    process_fd: int
    peer: socket.socket


def serve(listener: socket.socket) -> None:
    """Answer until we are killed, or our program was changed and the last command has ended. Returns in a fork, to end it."""
    kernel.end_with_parent()
    last = _Last()
    server = _Server(listener, _load())
    gc.freeze()
    listener.listen(_CALLERS)
    if (peer := server.run()) is not None:
        last.become(peer)


class _Server:
    """The server's own process."""

    def __init__(self, listener: socket.socket, files: _Files) -> None:
        self._files = files  # of all that is loaded, as they were
        self._listener = listener
        self._running: dict[int, _Running] = {}  # by each of its descriptors
        self._is_ending = False
        self._waiting = select.epoll()
        self._waiting.register(listener, select.EPOLLIN)

    def run(self) -> socket.socket | None:
        """Fork for each caller. Answers in the fork: the caller."""
        while not self._is_ending or self._running:
            for fd, _ in self._waiting.poll():
                if not self._is_ending and fd == self._listener.fileno():
                    if (peer := self._accept()) is not None:
                        return peer
                elif (command := self._running.get(fd)) is None:
                    continue
                elif fd == command.process_fd:
                    self._remove_dead(command)
                else:  # the client is gone
                    self._waiting.unregister(fd)
                    signal.pidfd_send_signal(command.process_fd, signal.SIGKILL)
        return None

    def _accept(self) -> socket.socket | None:
        """Fork, unless a fork could not stand for the caller. That is looked at here: a fork, whose pages are copied first, is slower."""
        try:
            peer, _ = self._listener.accept()
        except OSError:
            return None
        try:
            if not self._files.are_same():
                self._end()
                raise Declined
            caller, user = peer_of(peer)
            if user != os.geteuid() or _surroundings(caller) != _surroundings(os.getpid()):
                raise Declined
            pid = os.fork()
        except (Declined, OSError, ValueError):
            peer.close()
            return None
        if not pid:
            return peer
        command = _Running(pid, os.pidfd_open(pid), peer)
        self._running[command.process_fd] = self._running[peer.fileno()] = command
        self._waiting.register(command.process_fd, select.EPOLLIN)
        self._waiting.register(peer, select.EPOLLRDHUP)
        return None

    def _remove_dead(self, command: _Running) -> None:
        """A command has ended. Its client is told, unless it did so itself."""
        _, status = os.waitpid(command.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(OSError):
            command.peer.send(EXITED + bytes([code]) if code >= 0 else SIGNALED + bytes([-code]), socket.MSG_DONTWAIT)
        for fd in (command.process_fd, command.peer.fileno()):
            del self._running[fd]
            with contextlib.suppress(FileNotFoundError):
                self._waiting.unregister(fd)
        os.close(command.process_fd)
        command.peer.close()

    def _end(self) -> None:
        """Our program was changed. Whoever calls now hears at once that nobody answers."""
        self._is_ending = True
        self._waiting.unregister(self._listener)
        self._listener.close()


def _load() -> _Files:
    """Import what commands import. Answers the files of all that is loaded, as they are now."""
    for name in _LOADED:
        importlib.import_module(name)
    return _Files({path for module in list(sys.modules.values()) if (path := getattr(module, "__file__", None))})


class _Files:
    """Files as they were. It is two objects in all: after a fork the kernel copies each page that holds one which is looked at."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = "\0".join(paths)
        self._stamps = self._read()

    def _read(self) -> array[int]:
        return array("Q", (number for path in self._paths.split("\0") for number in _stamp(path)))

    def are_same(self) -> bool:
        """Whether nobody has changed one since."""
        return self._read() == self._stamps


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


class _Last:
    """What a fork does last, behind all that was to be done at its end: it tells how the command ended, and frees nothing."""

    def __init__(self) -> None:
        """To be made before anything is loaded that has something to do at the end: who comes first is called last."""
        self._peer: socket.socket | None = None
        self._code = 1
        atexit.register(self._tell)

    def _tell(self) -> None:
        if self._peer is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            with contextlib.suppress(OSError):
                self._peer.send(EXITED + bytes([self._code]))
            os._exit(self._code)

    def become(self, peer: socket.socket) -> None:
        """The whole life of a fork, up to its end."""
        try:
            words = _get_ready(peer)
        except Exception:  # noqa: BLE001  # whatever it is, the caller can do without us
            with contextlib.suppress(OSError):
                peer.send(DECLINED + bytes(1))
            os._exit(1)
        self._peer = peer
        try:
            run_here(words)
        except SystemExit as ending:
            self._code = ending.code & 0xFF if isinstance(ending.code, int) else int(ending.code is not None)
        except BaseException:  # noqa: BLE001  # a bug: its traceback is shown, as that of a command is
            sys.excepthook(*sys.exc_info())


def _get_ready(peer: socket.socket) -> list[str]:
    """Take on what the caller is, and wait for its word. Answers the words that were typed."""
    os.closerange(3, peer.fileno())
    os.closerange(peer.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    os.setpgid(0, 0)
    peer.settimeout(_PATIENCE_S)
    words, manners = _take_on(peer)
    process = os.pidfd_open(os.getpid())
    socket.send_fds(peer, [READY], [process])
    os.close(process)
    go, fds, _, _ = socket.recv_fds(peer, 1, 4)
    if go != GO or len(fds) != 4:
        raise Declined
    peer.settimeout(None)
    os.fchdir(fds[3])
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    for fd in fds:
        os.close(fd)
    _open_streams(manners)
    return words


def _take_on(peer: socket.socket) -> tuple[list[str], list[str]]:
    """Become what the caller is. Answers the words that were typed, and how its streams are. Raises Declined, OSError or ValueError."""
    identity, streams, count, *rest = _receive(peer).split(b"\0")
    caller, _ = peer_of(peer)
    words = [os.fsdecode(word) for word in rest[: int(count)]]
    if identity != program_identity():
        raise Declined
    if (command := find_command(words)) in _STARTS_PROGRAMS and _read_of(caller, "cgroup") != _read_of(os.getpid(), "cgroup"):
        raise Declined
    _refuse_terminal(caller, command)
    _take_limits(caller)
    _take_signals(caller)
    os.environ.clear()
    os.environ.update(os.fsdecode(variable).partition("=")[::2] for variable in rest[int(count) :])
    time.tzset()
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_CTYPE, "")
    *manners, has_no_bytecode = streams.decode().split()
    sys.dont_write_bytecode = has_no_bytecode == "1"
    sys.argv[1:] = words
    return words, manners


def _receive(peer: socket.socket) -> bytes:
    """The message of a caller."""
    with peer.makefile("rb") as file:
        size = int.from_bytes(file.read(4), "little")
        if size > _MAX_MESSAGE or len(message := file.read(size)) != size:
            raise Declined
    return message


def _surroundings(pid: int) -> object:
    """What a process sees and may do (proc(5), namespaces(7)). Raises OSError if it is not ours to look at."""
    lines = [line for line in _read_of(pid, "status").splitlines() if line.startswith(_EQUAL)]
    namespaces = [os.stat(f"/proc/{pid}/ns/{name}").st_ino for name in sorted(os.listdir(f"/proc/{pid}/ns"))]
    root = os.stat(f"/proc/{pid}/root")
    try:
        label = _read_of(pid, "attr/current")
    except OSError:  # no security module
        label = b""
    way = (os.sched_getscheduler(pid), kernel.io_priority(pid), _read_of(pid, "personality"), _read_of(pid, "coredump_filter"))
    return lines, namespaces, (root.st_dev, root.st_ino), label, way


def _read_of(pid: int, name: str) -> bytes:
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()


def _refuse_terminal(caller: int, command: str) -> None:
    """Raises Declined if the command may need the caller's terminal to be its own, or the caller runs in that terminal's background."""
    group, _, terminal, foreground = _read_of(caller, "stat").rpartition(b")")[2].split()[2:6]
    if terminal != b"0" and (group != foreground or command in _STARTS_PROGRAMS):
        raise Declined


def _take_limits(caller: int) -> None:
    os.umask(next(int(line.split()[1], 8) for line in _read_of(caller, "status").splitlines() if line.startswith(b"Umask:")))
    if (score := _read_of(caller, "oom_score_adj")) != _read_of(os.getpid(), "oom_score_adj"):
        with open("/proc/self/oom_score_adj", "wb", 0) as file:
            file.write(score)
    if (nice := os.getpriority(os.PRIO_PROCESS, caller)) != os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    for limit in _LIMITS:
        if (theirs := resource.prlimit(caller, limit)) != resource.getrlimit(limit):
            resource.setrlimit(limit, theirs)


def _take_signals(caller: int) -> None:
    """Ignore and block what the caller does; what we handle ends us, or is Ctrl-C."""
    said = dict(line.split(b":\t", 1) for line in _read_of(caller, "status").splitlines() if line.startswith(b"Sig"))
    ignored, blocked = ({one for one in signal.valid_signals() if int(said[name], 16) >> one - 1 & 1} for name in (b"SigIgn", b"SigBlk"))
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        wanted = signal.SIG_IGN if number in ignored else usual
        if signal.getsignal(number) not in (wanted, None):
            signal.signal(number, wanted)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _open_streams(manners: Sequence[str]) -> None:
    """Those of Python know what their descriptors were when they were opened.

    `manners` are encoding and error handler of each, and whether it keeps nothing back.
    """
    modes = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
    for fd, (name, mode) in enumerate(modes):
        encoding, errors, is_unbuffered = manners[3 * fd : 3 * fd + 3]
        buffering = 1 if name == "stderr" or is_unbuffered == "1" or os.isatty(fd) else -1
        stream = open(fd, mode, buffering, encoding, errors, closefd=False)  # noqa: SIM115  # for as long as we live
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)

"""The client: it lets a server run the command that was typed, where one can.

A server (see `server`) has loaded casfs already, and forks for each command. To hand a command over it takes a few milliseconds, so this
module imports next to nothing: `_socket` and `_signal` are what `socket` and `signal` wrap in classes that take longer to make than all of
this. Whatever is not as it should be, down to the last answer before the command begins, means that nothing has happened, and that
the command runs here.
"""

from __future__ import annotations

import _socket
import os
import sys
from collections.abc import Iterator, Sequence

import casfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any
else:
    import _signal

SUFFIX = ".commands"
"""In run/: what the name of a server's socket ends with."""

READY, GO = b"+", b"!"  # of the server, which has taken on all that we are, and of us
EXITED, SIGNALED, DECLINED = b"E", b"S", b"D"  # how the command ended; the number follows. It has not begun if it was declined

SERVED = {"add", "diff", "env", "generations", "list", "lock", "metrics", "mount", "remove", "rollback", "show", "status", "sync"}
"""What is over so soon that starting counts. None needs to be a child of whoever called it, or starts or ends daemons as a rule."""

_HERE = {"--no-server", "--foreground", "--watch"}

_OWN_PLACES = ("/dev/fd/", "/dev/tty", "/proc/")
"""Paths that mean something else to every process."""

_PASSED_APART = {"PYTHONDONTWRITEBYTECODE", "PYTHONIOENCODING", "PYTHONUNBUFFERED"}
"""What a server that was started with other ones can do as well."""

_PATIENCE_S = 1.0  # a server that takes longer to get ready is no help

_PASSED_ON = (_signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGUSR1, _signal.SIGUSR2, _signal.SIGWINCH)


def has_server() -> bool:
    """Whether servers are wanted: to be started, and to be asked."""
    return os.environ.get("CASFS_SERVER") != "0"


def find_command(words: Sequence[str]) -> str:
    """The first word behind the options that say where to work; of others, such as --help, every command is to hear."""
    rest = iter(words)
    for word in rest:
        if word in {"--store", "--env"}:
            next(rest, None)
        elif word not in {"-q", "--quiet", "-v", "--verbose", "--no-server"} and not word.startswith(("--store=", "--env=")):
            return word
    return ""


def usual_store(given: str | None) -> str:
    """--store, else CASFS_STORE, else /var/lib/casfs for root and the user's data directory (XDG) for others; `~` is as it was typed."""
    if where := given or os.environ.get("CASFS_STORE"):
        return where
    return "/var/lib/casfs" if os.geteuid() == 0 else f"{os.environ.get('XDG_DATA_HOME') or '~/.local/share'}/casfs"


def program_identity() -> bytes:
    """What is the same in a server that can stand for us: the program, its interpreter, and what was said to that when it started."""
    status = os.stat(casfs.__file__ or "")
    encoding = (sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())
    program = (casfs.__version__, casfs.__file__, status.st_dev, status.st_ino, status.st_mtime_ns)
    flags = [getattr(sys.flags, name) for name in sys.flags.__match_args__ if name != "dont_write_bytecode"]
    options = sorted(one for one in os.environ.items() if one[0].startswith(("PYTHON", "LD_")) and one[0] not in _PASSED_APART)
    return os.fsencode(repr((program, sys.prefix, sys.version, flags, sorted(sys._xoptions.items()), sys.warnoptions, encoding, options)))


def ask_servers(words: list[str]) -> int | None:
    """The exit code of the command, if a server ran it. None: nothing has happened."""
    command = find_command(words)
    if not has_server() or command not in SERVED or not _HERE.isdisjoint(words) or _names_own_place(words):
        return None
    if command == "mount" and os.geteuid() != 0:  # it starts a daemon
        return None
    try:
        message = _format_command(words)
        for path in _iter_sockets(words):
            if (code := _ask_server(path, message)) is not None:
                return code
    except (OSError, ValueError, AttributeError):  # ours may be no place for commands: no /proc, a standard stream is closed
        pass
    return None


def _names_own_place(words: list[str]) -> bool:
    return any(place in word for place in _OWN_PLACES for word in words)


def _format_command(words: list[str]) -> bytes:
    """What the command is given, beside what the kernel knows of us."""
    ours: list[Any] = [sys.stdin, sys.stdout, sys.stderr]
    streams = " ".join(f"{one.encoding} {one.errors} {int(one.write_through)}" for one in ours) + f" {int(sys.dont_write_bytecode)}"
    variables = [name + b"=" + value for name, value in os.environb.items()]
    parts = [program_identity(), streams.encode(), str(len(words)).encode(), *map(os.fsencode, words), *variables]
    return b"\0".join(parts)


def _iter_sockets(words: list[str]) -> Iterator[str]:
    """Servers of the store. A server asks what store is meant for itself, so that to be wrong here does no harm."""
    given = None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        given = following if word == "--store" else word[len("--store=") :] if word.startswith("--store=") else given
    directory = f"{os.path.expanduser(usual_store(given))}/run"
    return (f"{directory}/{name}" for name in os.listdir(directory) if name.endswith(SUFFIX))


def connect(path: str) -> _socket.socket:
    """A connection to the server at a path, which is no link, if it runs as who we are. Raises OSError."""
    place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    peer = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        if os.fstat(place).st_uid != os.geteuid():  # whoever made it could let us wait
            raise PermissionError(path)
        peer.settimeout(_PATIENCE_S)
        peer.connect(f"/proc/self/fd/{place}")  # the path itself may be too long for an address (unix(7))
        if peer_of(peer)[1] != os.geteuid():
            raise PermissionError(path)
    except BaseException:
        peer.close()
        raise
    finally:
        os.close(place)
    return peer


def peer_of(connection: _socket.socket) -> tuple[int, int]:
    """Process and user at the other end (unix(7), SO_PEERCRED)."""
    found = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(found[:4], sys.byteorder), int.from_bytes(found[4:8], sys.byteorder)


def _ask_server(path: str, message: bytes) -> int | None:
    try:
        peer = connect(path)
        peer.sendall(len(message).to_bytes(4, "little") + message)
        answer, ancillary, _, _ = peer.recvmsg(1, _socket.CMSG_SPACE(4))
        if answer != READY:
            return None
        process = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
        here = os.open(".", os.O_PATH | os.O_CLOEXEC)
        rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (0, 1, 2, here))
        _pass_signals_on(process)
        peer.sendmsg([GO], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        os.close(here)
    except (OSError, IndexError):
        _keep_signals()
        return None
    peer.settimeout(None)
    ending = peer.recv(2)
    if ending[:1] == DECLINED:
        _keep_signals()
        return None
    return _end_alike(ending)


def _pass_signals_on(process: int) -> None:
    """From now on signals to us are the command's, and what stops us stops it; `process` is a descriptor of it."""

    def pass_on(number: int, frame: object) -> None:
        _send_signal(process, number)

    def stop(number: int, frame: object) -> None:
        _send_signal(process, _signal.SIGSTOP)
        os.kill(os.getpid(), _signal.SIGSTOP)
        _send_signal(process, _signal.SIGCONT)

    for number in (*_PASSED_ON, _signal.SIGTSTP):
        if _signal.getsignal(number) != _signal.SIG_IGN:  # else the command ignores it as well
            _signal.signal(number, stop if number == _signal.SIGTSTP else pass_on)


def _keep_signals() -> None:
    """The command begins here after all."""
    for number in (*_PASSED_ON, _signal.SIGTSTP):
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _signal.default_int_handler if number == _signal.SIGINT else _signal.SIG_DFL)


def _send_signal(process: int, number: int) -> None:
    try:  # noqa: SIM105  # contextlib takes longer to import than all of this
        _signal.pidfd_send_signal(process, number)
    except ProcessLookupError:  # it has ended
        pass


def _end_alike(ending: bytes) -> int:
    """The code that the command exited with; if a signal ended it, that ends us."""
    if len(ending) != 2:
        os.write(2, b"casfs: the process that ran the command was killed\n")
        return 1
    if ending[:1] == SIGNALED:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command has left one, if any
        if ending[1] != _signal.SIGKILL:
            _signal.signal(ending[1], _signal.SIG_DFL)
        os.kill(os.getpid(), ending[1])
        return 128 + ending[1]
    return ending[1]

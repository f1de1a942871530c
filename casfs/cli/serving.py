"""Serving: how a process comes to serve a mount, and what it does when it has lost one that should not have ended."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from casfs.cli.client import has_server
from casfs.cli.ending import exit_code
from casfs.cli.output import note
from casfs.cli.sizes import parse_size
from casfs.errors import MountRefused
from casfs.store.leases import DEAD_LOG
from casfs.store.scrub import set_scrub_rate
from casfs.store.store import Store

if TYPE_CHECKING:
    from casfs.mount.daemon import Lost

_LOG_BYTES = 1 << 20

_STANDARD_ERROR = 2


class Starting:
    """A process that is about to serve. It says so in two steps: it can be asked, and it answers."""

    def __init__(self, serve: Callable[[int], None]) -> None:
        """It is forked, since most of what it needs is loaded already. `serve` is given the descriptor into which it says how far it is."""
        self._ready, theirs = os.pipe()
        if not (pid := os.fork()):
            _live(functools.partial(serve, theirs), theirs)
        os.close(theirs)
        self._pid = pid

    def wait_for_step(self) -> int:
        """Return when it is a step further. Answers its exit code if it ended instead; else 0."""
        if os.read(self._ready, 1):
            return 0
        _, status = os.waitpid(self._pid, 0)
        return os.waitstatus_to_exitcode(status) or 1  # it has said why on the standard error that it shares with us

    def close(self) -> None:
        """It lives on; nobody waits for it."""
        os.close(self._ready)


def start_process(serve: Callable[[int], None]) -> int:
    """Start a process that serves, and return when it does. Answers its exit code if it ended instead; 0 if it serves."""
    with contextlib.closing(Starting(serve)) as process:
        return process.wait_for_step() or process.wait_for_step()


def _live(serve: Callable[[], None], ready_fd: int) -> NoReturn:
    """The whole life of a forked process: a daemon, which has nothing of ours but the standard error, until it can write a log."""
    code = 1
    try:
        os.setsid()
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.closerange(3, ready_fd)  # the lock of the places among them: it is the command's
        os.closerange(ready_fd + 1, os.sysconf("SC_OPEN_MAX"))
        code = exit_code(serve)
    except BaseException:  # noqa: BLE001  # a bug: its traceback is shown, as that of a command is
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def serve_here(
    store: Store,
    environment: str,
    mountpoint: str,
    ready_fd: int | None,
    after: str = "",
    *,
    when_known: Callable[[], None] = lambda: None,
) -> None:
    """Serve a mount in this process until it ends. One that should not have ended is made again, unless we are in the foreground.

    `ready_fd` is where somebody waits for us to be ready, if we are not in the foreground. `when_known` is called once others find us.
    """
    import logging

    from casfs.mount.daemon import start_daemon

    logging.basicConfig(format="casfs: %(message)s", level=logging.WARNING)

    def when_mounted(lease_id: str) -> None:
        when_known()
        if rate := os.environ.get("CASFS_SCRUB_RATE"):
            set_scrub_rate(store, parse_size(rate))
        if ready_fd is not None:
            log_to_file(store.path("leases", f"{lease_id}.log"))
            _say_step(ready_fd)

    def when_serving() -> None:
        if ready_fd is None:
            from casfs.cli.service import tell_manager

            note(f"{mountpoint} shows {f'environment {environment!r}' if environment else store.root}; Ctrl-C ends it")
            tell_manager("READY=1")
        else:
            _say_step(ready_fd)
            os.close(ready_fd)

    if lost := start_daemon(store, environment, mountpoint, when_mounted, when_serving, after=after, runs_commands=has_server()):
        if ready_fd is None:
            raise MountRefused(mountpoint, f"{lost.reason}, and this kernel can't go on with another one (Linux can since 6.9)")
        mount_again(store, lost)


def _say_step(ready_fd: int) -> None:
    with contextlib.suppress(OSError):  # whoever has started us is gone
        os.write(ready_fd, b"+")


def mount_again(store: Store, lost: Lost) -> NoReturn:
    """Let a command take the place of this process that mounts what was lost. What it has to say is kept with the dead one's log."""
    write_to_dead_log(store)
    where = ["--env", lost.environment, "mount", f"--after={lost.reason}", "--", lost.mountpoint]
    command = where if lost.environment else ["daemon", "start", f"--after={lost.reason}"]
    os.execv(sys.executable, [sys.executable, "-m", "casfs", "--store", store.root, *command])


def write_to_dead_log(store: Store) -> None:
    """From here on what is told on the standard error is kept with the log of the last daemon that died."""
    with contextlib.suppress(OSError):
        log = os.open(store.path("leases", DEAD_LOG), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.dup2(log, _STANDARD_ERROR)
        os.close(log)


def log_to_file(path: str) -> None:
    """From here on nobody reads our standard error: what goes wrong is told to a file of bounded size."""
    import logging.handlers

    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().handlers[:] = [handler]
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, _STANDARD_ERROR)
    os.close(null)

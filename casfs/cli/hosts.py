"""Hosts: how a command starts what serves mounts, and how it ends it."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from typing import TYPE_CHECKING, NoReturn

from casfs.cli.output import warn
from casfs.errors import CasfsError, MountRefused
from casfs.mount.control import Request, ask_daemon, raise_problem
from casfs.mount.places import find_host, forget_gone_places, iter_places, locked_places
from casfs.mount.placing import end_unused_overlays, revive_places
from casfs.store.leases import DEAD_LOG, Lease
from casfs.store.store import Store

if TYPE_CHECKING:
    from casfs.mount.daemon import Lost

_LOG_BYTES = 1 << 20

END_WAIT_S = 10.0  # how long `umount` waits for the daemon to be gone; it needs a few milliseconds


def require_host(store: Store, after: str = "") -> Lease:
    """The lease of the store's host, which is started if there is none; what one before it showed is shown again.

    `after` says why that ended, if somebody knows.
    """
    if (host := find_host(store)) is not None:
        return host
    if code := start_process(store, ["daemon", "start", "--foreground", f"--after={after}"], []):
        sys.exit(code)
    if (host := find_host(store)) is None:
        raise MountRefused(store.root, "the daemon ended as soon as it had started; `casfs daemon logs` may say why")
    revive(store, host)
    return host


def revive(store: Store, host: Lease) -> None:
    """Mount again what a host that died showed."""
    for place in revive_places(store, host):
        warn(f"{place.path}: could not be mounted again after the daemon had ended")


def start_process(store: Store, command: list[str], rest: list[str]) -> int:
    """Start a process that serves, and return when it does. Answers its exit code if it ended instead; 0 if it serves."""
    ours, theirs = os.pipe()
    line = [sys.executable, "-m", "casfs", "--store", store.root, *command, "--ready-fd", str(theirs), *rest]
    null = subprocess.DEVNULL
    with subprocess.Popen(line, cwd="/", pass_fds=(theirs,), stdin=null, stdout=null, start_new_session=True) as daemon:
        os.close(theirs)
        with os.fdopen(ours, "rb") as ready:
            if not ready.read(1):
                return daemon.wait() or 1  # it has said why on the standard error that it shares with us
        daemon.returncode = 0  # it lives on; nobody waits for it
    return 0


def mount_again(store: Store, lost: Lost) -> NoReturn:
    """Let a command take the place of this process that mounts what was lost. What it has to say is kept with the dead one's log."""
    with contextlib.suppress(OSError):
        log = os.open(store.path("leases", DEAD_LOG), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.dup2(log, sys.stderr.fileno())
    where = ["--env", lost.environment, "mount", f"--after={lost.reason}", "--", lost.mountpoint]
    command = where if lost.environment else ["daemon", "start", f"--after={lost.reason}"]
    os.execv(sys.executable, [sys.executable, "-m", "casfs", "--store", store.root, *command])


def log_to_file(path: str) -> None:
    """From here on nobody reads our standard error: what goes wrong is told to a file of bounded size."""
    import logging.handlers

    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().handlers[:] = [handler]
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, sys.stderr.fileno())
    os.close(null)


def end_idle_host(store: Store, *, is_lazy: bool) -> None:
    """A host that shows nothing any more ends."""
    with locked_places(store):
        host = find_host(store)
        forget_gone_places(store)
        end_unused_overlays(store)
        if host is not None and not any(True for _ in iter_places(store)):
            with contextlib.suppress(CasfsError):
                stop_daemon(store, host, is_lazy=is_lazy)


def stop_daemon(store: Store, lease: Lease, *, is_lazy: bool) -> None:
    """Tell a daemon to end; unless lazily, return when it is gone. It lives on for as long as somebody uses its mount."""
    supervisor = ask_daemon(store, lease, Request("status")).supervisor
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(supervisor)
        with contextlib.suppress(MountRefused):  # it may be gone before it has answered
            raise_problem(lease, ask_daemon(store, lease, Request("stop")))
        if not is_lazy:
            select.select([process], [], [], END_WAIT_S)
        os.close(process)

"""The daemon of one mount: takes the lease, mounts, and hands both to a supervisor."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Protocol

from casfs.daemon.acknowledged_generations import AcknowledgedGenerations
from casfs.daemon.command_server import CommandServer
from casfs.daemon.control import socket_path
from casfs.daemon.supervisor import Session, Supervisor, WorkerHandoff
from casfs.descriptors import closing_fd
from casfs.fuse.host import Host
from casfs.fuse.session import can_resend, end_session, mount_session
from casfs.fuse.view import View
from casfs.overlay.mountinfo import prepare_mountpoint
from casfs.store.environments import Environment
from casfs.store.leases import HeldLease, Lease, clear_private_mount, inherit_lease, keep_log, new_lease, take_lease
from casfs.store.runtime_files import now_utc
from casfs.store.shared import use_what_is_there
from casfs.store.store import Store
from casfs.venv.reading import LayerReader

log = logging.getLogger("casfs")

_MAX_INIT = 4096


class Scrubber(Protocol):
    """A process beside the daemon that reads the pool, in a block of it."""

    def __enter__(self) -> Scrubber: ...
    def __exit__(self, *error: object) -> None: ...
    def end(self) -> None: ...


StartScrubber = Callable[[Store, Iterable[int]], Scrubber]
"""Starts it; the descriptors are ours, and it must not hold them open."""


@dataclass(frozen=True, slots=True)
class Handover:
    """What one supervisor leaves to the next: descriptors by number, and who serves meanwhile."""

    fuse_fd: int
    init_fd: int
    listener_fd: int
    lease_fd: int
    orphan: int
    restarts: int

    def to_text(self) -> str:
        """For a command line."""
        numbers = (self.fuse_fd, self.init_fd, self.listener_fd, self.lease_fd, self.orphan, self.restarts)
        return ",".join(map(str, numbers))


def parse_handover(text: str) -> Handover:
    """What `to_text` gave. Raises ValueError."""
    numbers = [int(one) for one in text.split(",")]
    if len(numbers) != len(fields(Handover)) or min(numbers) < 0:
        raise ValueError(f"is not a handover: {text!r}")
    return Handover(*numbers)


@dataclass(frozen=True, slots=True)
class Lost:
    """A mount that ended although nobody wanted it to, because this kernel can't go on with another worker (see `supervisor`)."""

    environment: str  # empty for a host
    mountpoint: str
    reason: str


class Daemon:
    """A mount as its supervisor holds it."""

    def __init__(
        self, store: Store, lease: HeldLease, listener: socket.socket, fuse_fd: int, init_fd: int, *, start_scrubber: StartScrubber | None
    ) -> None:
        """Without `start_scrubber` nobody scrubs: a mount of `casfs run` ends soon."""
        self._store = store
        self._start_scrubber = start_scrubber
        self._lease = lease
        self._listener = listener
        self._fuse_fd = fuse_fd
        self._init_fd = init_fd

    def run(self, when_serving: Callable[[], None], orphan: int = 0, restarts: int = 0, reason: str = "") -> Lost | None:
        """Supervise until the mount ends. Answers what was lost, if it should not have ended."""
        from casfs.daemon.worker import WorkerConfig, serve  # pyfuse3 and trio: loaded here, so that workers are forked with them

        lease = self._lease.lease
        inherited = (self._fuse_fd, self._init_fd, self._listener.fileno(), self._lease.fd)

        def serve_worker(life: WorkerHandoff) -> None:
            use_what_is_there(self._store, log.error)
            generations = AcknowledgedGenerations(self._store, lease.id)
            shown = _shown(self._store, lease, generations)
            replace = functools.partial(self._command, os.getpid(), life.restarts)
            serve(WorkerConfig(self._store, shown, lease.environment, generations, self._listener, replace, inherited), life)

        scrubber = self._start_scrubber(self._store, inherited) if self._start_scrubber else None
        server = CommandServer(self._store, lease)

        def when_first_served() -> None:
            when_serving()
            server.start()

        def upgrade(worker: int, lived: int) -> None:
            if scrubber is not None:
                scrubber.end()
            server.close()
            for fd in inherited:
                os.set_inheritable(fd, True)
            os.execv(sys.executable, self._command(worker, lived))

        init_message = os.pread(self._init_fd, _MAX_INIT, 0)
        session = Session(self._fuse_fd, init_message, self._end, restarts, orphan, reason, can_resend(), self._is_worker)
        if orphan:
            server.start()
        with contextlib.closing(server), scrubber or contextlib.nullcontext():
            loss = Supervisor(session, serve_worker, when_first_served, upgrade).run()
        if not loss:
            return None
        keep_log(self._store, lease, f"{loss}: its mounts are mounted again")
        return Lost(lease.environment, lease.mountpoint, loss)

    def _is_worker(self, pid: int) -> bool:
        """Whether a process holds our lease, as every worker does and no stranger."""
        with contextlib.suppress(OSError):
            return os.path.samestat(os.stat(f"/proc/{pid}/fd/{self._lease.fd}"), os.fstat(self._lease.fd))
        return False

    def _end(self) -> None:
        """Unmount lazily. From now on nobody finds this daemon, although it serves those who use the mount still.

        A private mount nobody can take from its users: it ends with them.
        """
        if self._lease.lease.generation:
            return
        self._lease.withdraw()
        end_session(self._lease.lease.mountpoint)

    def _command(self, orphan: int, restarts: int) -> list[str]:
        """Command line of a supervisor that takes over."""
        handover = Handover(self._fuse_fd, self._init_fd, self._listener.fileno(), self._lease.fd, orphan, restarts)
        return [sys.executable, "-m", "casfs", "--store", self._store.root, "daemon", "adopt", handover.to_text()]


def _shown(store: Store, lease: Lease, generations: AcknowledgedGenerations) -> View | Host:
    """What a daemon shows: one environment, or as a host those that it was asked for."""
    if not lease.environment:
        reader = LayerReader(store)  # one for all, so that a manifest is in memory once
        table = store.run_path(f"{lease.id}.slots")

        def open_view(name: str, number: int) -> View:
            pinned = functools.partial(Environment(store, name).read, number)
            return View(store, pinned if number else functools.partial(generations.read, name), reader=reader)

        return Host(table, open_view)
    environment = Environment(store, lease.environment)
    if lease.generation:
        return View(store, functools.partial(environment.read, lease.generation), (os.geteuid(), os.getegid()), is_pinned=True)
    owner = environment.owner_ids()
    return View(store, functools.partial(generations.read, lease.environment), owner)


def start_daemon(
    store: Store,
    environment: str,
    mountpoint: str,
    when_mounted: Callable[[str], None],
    when_serving: Callable[[], None],
    *,
    start_scrubber: StartScrubber,
    after: str = "",
) -> Lost | None:
    """Mount, and serve until the mount ends. Answers what was lost, if it should not have ended.

    `when_mounted` is called with the lease's id before the first worker is forked, `when_serving` once requests are answered.

    Without a name of an environment it is a host, and shows what it is asked for. `after` says why the one before it ended.

    Raises MountRefused if it can't be mounted.
    """
    with contextlib.ExitStack() as stack:
        if not environment:
            stack.callback(_remove_private, mountpoint)
        lease = take_lease(store, new_lease(environment, mountpoint, now_utc()))
        stack.callback(lease.end)
        listener = stack.enter_context(_listen(store, lease.lease.id))
        prepare_mountpoint(mountpoint)
        fuse_fd, init_message = mount_session(mountpoint)
        stack.callback(end_session, mountpoint)
        init_fd = os.memfd_create("FUSE_INIT")
        os.write(init_fd, init_message)
        when_mounted(lease.lease.id)
        return Daemon(store, lease, listener, fuse_fd, init_fd, start_scrubber=start_scrubber).run(
            when_serving, restarts=int(bool(after)), reason=after
        )


def serve_private(store: Store, lease: HeldLease, fuse_fd: int, init_message: bytes) -> None:
    """Answer what is asked of a private mount until its namespace ends."""
    with _listen(store, lease.lease.id) as listener:
        os.set_inheritable(fuse_fd, False)
        init_fd = os.memfd_create("FUSE_INIT")
        os.write(init_fd, init_message)
        Daemon(store, lease, listener, fuse_fd, init_fd, start_scrubber=None).run(lambda: None)


def _remove_private(mountpoint: str) -> None:
    """Remove the directory on which a host was mounted."""
    with contextlib.suppress(OSError):
        os.rmdir(mountpoint)


def adopt_daemon(store: Store, handover: Handover, when_adopted: Callable[[str], None], start_scrubber: StartScrubber) -> Lost | None:
    """Supervise what another supervisor did until now. Answers as `start_daemon` does."""
    with contextlib.ExitStack() as stack:
        for fd in (handover.fuse_fd, handover.init_fd, handover.listener_fd, handover.lease_fd):
            os.set_inheritable(fd, False)
        lease = inherit_lease(store, handover.lease_fd)
        stack.callback(lease.end)
        if lease.lease.generation:
            stack.callback(clear_private_mount, store, lease.lease)
        if not lease.lease.environment:
            stack.callback(_remove_private, lease.lease.mountpoint)
        stack.callback(end_session, lease.lease.mountpoint)
        listener = stack.enter_context(socket.socket(fileno=handover.listener_fd))
        scrubs = None if lease.lease.generation else start_scrubber
        daemon = Daemon(store, lease, listener, handover.fuse_fd, handover.init_fd, start_scrubber=scrubs)
        when_adopted(lease.lease.id)
        return daemon.run(lambda: None, handover.orphan, handover.restarts)


def _listen(store: Store, lease_id: str) -> socket.socket:
    """The control socket; only the owner of the store may connect."""
    with closing_fd(os.open(store.run_path(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as directory_fd:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.bind(socket_path(directory_fd, lease_id))
        os.chmod(store.run_path(f"{lease_id}.sock"), 0o600)
        listener.listen(128)
        return listener

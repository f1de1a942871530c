"""The daemon of one mount: it answers the kernel, and casfs commands over the control socket.

What awaits, and what guards it: requests of the kernel run interleaved, but between two awaits each sees one tree; `_switching` lets one
switch of generations at a time prepare, show and invalidate. The tree is shown before the kernel is told to forget the old one: a look-up
that is on its way holds its directory's lock until its answer is in the kernel's cache, and the invalidation waits for that lock in a
thread. When a switch has been answered, nothing of the old generation is cached by a name that means something else now.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pyfuse3
import trio

from casfs.errors import CasfsError, MountRefused
from casfs.mount.control import MAX_MESSAGE, Reply, format_message, parse_request, socket_path
from casfs.mount.descriptors import Descriptors
from casfs.mount.inodes import ROOT, encode_directory
from casfs.mount.loop import use_lean_loop
from casfs.mount.mounts import FILE_SYSTEM, prepare_mountpoint
from casfs.mount.operations import Operations
from casfs.mount.view import View
from casfs.store.environments import Environment
from casfs.store.leases import HeldLease, new_lease
from casfs.store.store import Store
from casfs.venv.differences import ChangedDirectory, ChangedEntry
from casfs.venv.tree import DirectoryNode

log = logging.getLogger("casfs")

_OPEN_BLOBS = 512
_PATIENCE_S = 1.0  # a command connects in order to say one line
_SPARE_DESCRIPTORS = 32  # for manifests, the control socket, threads


@dataclass(frozen=True, slots=True)
class Served:
    """What a daemon serves."""

    store: Store
    environment: Environment
    mountpoint: str


def serve(served: Served, when_ready: Callable[[str], None]) -> None:
    """Mount, and answer until the mount ends. `when_ready` is called with the lease's id once requests are answered.

    Raises MountRefused if it can't be mounted.
    """
    with contextlib.ExitStack() as stack:
        lease = HeldLease(served.store, new_lease(served.environment.name, served.mountpoint, _now()))
        stack.callback(lease.end)
        listener = _listen(served.store, lease.lease.id, stack)
        view = View(served.store, served.environment.require)
        descriptors = Descriptors(served.store.pool, _descriptor_limit())
        owner = os.stat(served.environment.directory)
        operations = Operations(view, descriptors, (owner.st_uid, owner.st_gid))
        _mount(operations, served.mountpoint)
        stack.callback(_end_session)
        use_lean_loop()
        daemon = _Daemon(served, operations, descriptors)
        trio.run(daemon.run, listener, lambda: when_ready(lease.lease.id))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _descriptor_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(4, min(_OPEN_BLOBS, soft - _SPARE_DESCRIPTORS))


def _listen(store: Store, lease_id: str, stack: contextlib.ExitStack) -> socket.socket:
    """The control socket; only the owner of the store may connect."""
    directory_fd = os.open(store.path("leases"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, directory_fd)
    listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
    listener.bind(socket_path(directory_fd, lease_id))
    stack.callback(os.unlink, store.path("leases", f"{lease_id}.sock"))
    os.chmod(store.path("leases", f"{lease_id}.sock"), 0o600)
    listener.listen(128)
    return listener


def _mount(operations: Operations, mountpoint: str) -> None:
    prepare_mountpoint(mountpoint)
    options = {"ro", "default_permissions", f"fsname={FILE_SYSTEM}", f"subtype={FILE_SYSTEM}"}
    if os.geteuid() == 0 or _may_allow_other():
        options.add("allow_other")
    try:
        pyfuse3.init(operations, mountpoint, options)
    except RuntimeError as error:
        reason = "/dev/fuse is missing: load the kernel module `fuse`" if not os.path.exists("/dev/fuse") else str(error)
        raise MountRefused(mountpoint, f"FUSE can't mount here: {reason}") from None


def _may_allow_other() -> bool:
    """Whether fusermount3 lets a plain user show a mount to others (fuse.conf(5))."""
    with contextlib.suppress(OSError), open("/etc/fuse.conf", encoding="utf-8") as file:
        return any(line.strip() == "user_allow_other" for line in file)
    return False


def _end_session() -> None:
    pyfuse3.close(unmount=True)


class _Daemon:
    """The tasks of a daemon."""

    def __init__(self, served: Served, operations: Operations, descriptors: Descriptors) -> None:
        self._environment = served.environment
        self._operations = operations
        self._descriptors = descriptors
        self._began = time.monotonic()
        self._switching = trio.Lock()

    async def run(self, listener: socket.socket, when_ready: Callable[[], None]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_on_signal)
            nursery.start_soon(self._answer_commands, listener)
            nursery.start_soon(_soon, when_ready)
            await pyfuse3.main()
            nursery.cancel_scope.cancel()

    async def _end_on_signal(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for _ in signals:
                pyfuse3.terminate()

    async def _answer_commands(self, listener: socket.socket) -> None:
        server = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        await trio.serve_listeners(self._answer_command, [server])

    async def _answer_command(self, stream: trio.SocketStream) -> None:
        """One request and its reply. Whatever arrives, only this connection suffers from it."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                if _peer_user(stream.socket) not in (0, os.geteuid()):
                    return
                await stream.send_all(format_message(await self._reply(await _receive_line(stream))))

    async def _reply(self, line: bytes) -> Reply:
        try:
            request = parse_request(line)
            if request.command == "switch":
                await self.switch()
            elif request.command != "status":
                return Reply(f"unknown command {request.command!r}")
            return await self._status()
        except (CasfsError, ValueError, TypeError) as error:
            return Reply(str(error))
        except Exception:
            log.exception("a command failed")
            return Reply("failed; the daemon's log says why")

    async def _status(self) -> Reply:
        view = self._operations.view
        await trio.to_thread.run_sync(view.read_tree)
        return Reply(
            generation=view.tree.generation.number,
            uptime_s=round(time.monotonic() - self._began, 1),
            requests=dict(self._operations.requests),
            open_blobs=len(self._descriptors),
            resident_bytes=_resident_bytes(),
        )

    async def switch(self) -> None:
        """Show the generation that is current now. When this returns, nobody sees the one before any more."""
        async with self._switching:
            view = self._operations.view
            generation = await trio.to_thread.run_sync(self._environment.require)
            await trio.to_thread.run_sync(view.read_tree)
            if generation.number == view.tree.generation.number:
                return
            tree, differences = await trio.to_thread.run_sync(view.prepare, generation)
            view.show(tree)
            await trio.to_thread.run_sync(_invalidate, differences)


async def _soon(when_ready: Callable[[], None]) -> None:
    when_ready()


async def _receive_line(stream: trio.SocketStream) -> bytes:
    """What is sent of a line within the time: who connects and says nothing takes a descriptor from the blobs."""
    line = b""
    with trio.move_on_after(_PATIENCE_S):
        while not line.endswith(b"\n") and len(line) < MAX_MESSAGE and (chunk := await stream.receive_some(4096)):
            line += chunk
    return line


def _peer_user(connection: trio.socket.SocketType) -> int:
    """User of the process at the other end (unix(7), SO_PEERCRED)."""
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(user)


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _invalidate(differences: list[ChangedEntry | ChangedDirectory]) -> None:
    """Tell the kernel what to forget. It may block until requests that are on their way have been answered."""
    for change in differences:
        directory = _number(change.directory)
        with contextlib.suppress(FileNotFoundError):  # the kernel did not know it
            if isinstance(change, ChangedEntry):
                pyfuse3.invalidate_entry(pyfuse3.InodeT(directory), pyfuse3.FileNameT(change.name.encode("utf-8", "surrogateescape")))
            else:
                pyfuse3.invalidate_inode(pyfuse3.InodeT(directory), attr_only=True)


def _number(directory: DirectoryNode) -> int:
    return encode_directory(directory.identity) if directory.path else ROOT

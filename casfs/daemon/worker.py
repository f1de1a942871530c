"""The worker answers the kernel, and casfs commands over the control socket.

What awaits, and what guards it: requests of the kernel run interleaved, but between two awaits each sees one tree; `_switching` lets one
switch of generations at a time prepare, show and invalidate. The tree is shown before the kernel is told to forget the old one: a look-up
that is on its way holds its directory's lock until its answer is in the kernel's cache, and the invalidation waits for that lock in a
thread. When a switch has been answered, nothing of the old generation is cached by a name that means something else now.

A worker may be killed at any moment, and another one goes on where it stopped (see `supervisor`). So it keeps nothing that another could
not find again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyfuse3
import trio

from casfs import __version__
from casfs.daemon.acknowledged_generations import AcknowledgedGenerations
from casfs.daemon.control import MAX_REQUEST, Reply, Request, format_message, parse_request
from casfs.daemon.supervisor import WorkerHandoff
from casfs.errors import CasfsError, reason_of
from casfs.fuse.blob_verifier import BlobVerifier
from casfs.fuse.descriptors import Descriptors
from casfs.fuse.host import Host, Slot
from casfs.fuse.inodes import ROOT, encode_directory, host_number
from casfs.fuse.loop import use_lean_loop
from casfs.fuse.operations import Operations, summarize
from casfs.fuse.view import View
from casfs.overlay import kernel
from casfs.store.environments import Environment
from casfs.store.shared import use_what_is_there
from casfs.store.store import Store
from casfs.upper.differences import ChangedDirectory, ChangedEntry
from casfs.venv.tree import DirectoryNode

log = logging.getLogger("casfs")

_OPEN_BLOBS = 512
_PATIENCE_S = 1.0  # a command connects in order to say one line
_UPGRADE_S = 5.0  # a supervisor that is to replace itself and us needs a tenth of a second
_AGAIN_S = 0.5
_LOOK_EVERY_S = 5.0
_SPARE_DESCRIPTORS = 40  # for manifests, stamps, the control socket, threads

_RESEND = struct.pack("<IiQ", 16, 7, 0)
"""Asks the kernel to send again what nobody answered (FUSE_NOTIFY_RESEND of linux/fuse.h: length, code, no request)."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker serves, and where commands reach it."""

    store: Store
    shown: View | Host
    environment: str  # that a view shows; empty for a host
    generations: AcknowledgedGenerations
    listener: socket.socket
    replace_supervisor: Callable[[], Sequence[str]]  # command line of another supervisor
    inherited: Sequence[int]  # descriptors that it needs


class _WorkerOperations(Operations):
    """Operations on a session that INIT is replayed to."""

    def __init__(self, life: WorkerHandoff, shown: View | Host, descriptors: Descriptors, verifier: BlobVerifier) -> None:
        super().__init__(shown, descriptors, verifier)
        self._life = life

    def init(self) -> None:
        """INIT has been read from the socket: from here on the real device takes its place."""
        os.dup2(self._life.fuse_fd, self._life.replay.fileno(), inheritable=False)
        if not self._life.is_first:
            with contextlib.suppress(OSError):  # the mount has ended meanwhile; the next read says so
                os.write(self._life.fuse_fd, _RESEND)


def serve(post: WorkerConfig, life: WorkerHandoff) -> None:
    """Answer until the mount ends.

    All that this needs of root's rights is to read a store that belongs to another user, and to write its tables there. Whoever made this
    process run a program of theirs would be root again: it is no sandbox, but no bug of ours mounts, traces or changes owners.
    """
    kernel.keep_capabilities(kernel.CAP_DAC_OVERRIDE, kernel.CAP_DAC_READ_SEARCH)
    descriptors = Descriptors(post.store.pool, _descriptor_limit())
    operations = _WorkerOperations(life, post.shown, descriptors, BlobVerifier(post.store))
    pyfuse3.init(operations, f"/dev/fd/{life.replay.fileno()}", set())
    use_lean_loop()
    trio.run(_Worker(post, life, operations, descriptors).run)
    pyfuse3.close(unmount=False)


def _descriptor_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(4, min(_OPEN_BLOBS, soft - _SPARE_DESCRIPTORS))


class _Worker:
    """The tasks of a worker."""

    def __init__(self, post: WorkerConfig, life: WorkerHandoff, operations: Operations, descriptors: Descriptors) -> None:
        self._post = post
        self._life = life
        self._operations = operations
        self._descriptors = descriptors
        self._began = time.monotonic()
        self._supervisor = os.getppid()
        self._switching = trio.Lock()
        self._unforgotten: list[tuple[int, list[ChangedEntry | ChangedDirectory]]] = []  # slot, and what the kernel must forget there

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._answer_supervisor)
            nursery.start_soon(self._answer_commands, self._post.listener)
            nursery.start_soon(self._catch_up)
            nursery.start_soon(self._end_with_store)
            await pyfuse3.main()
            nursery.cancel_scope.cancel()

    async def _end_with_store(self) -> None:
        """A host whose store was deleted can be found by nobody any more, so it ends. Those who use its mounts are served still."""
        while isinstance(self._post.shown, Host):
            if await trio.to_thread.run_sync(_is_gone, self._post.store.path("format")):
                await self._tell_supervisor("stop")
                break
            await trio.sleep(_LOOK_EVERY_S)

    async def _answer_supervisor(self) -> None:
        """Say that we live, as often as we are asked. If nobody asks any more, start another supervisor: it will replace us."""
        line = trio.socket.from_stdlib_socket(self._life.line)
        await line.send(b"serving")
        while message := await self._hear(line):
            if message == b"leave":
                await trio.sleep(_UPGRADE_S)
                break
            await line.send(b"pong")
        while True:
            log.error("the supervisor died; another one is started")
            command = self._post.replace_supervisor()
            try:
                process = subprocess.Popen(command, cwd="/", pass_fds=self._post.inherited, start_new_session=True)
                await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)  # one that succeeds kills us
            except OSError as error:  # no process or no memory to be had: we go on serving
                log.error("another supervisor can't be started: %s", reason_of(error))
            await trio.sleep(_AGAIN_S)

    async def _tell_supervisor(self, command: str) -> None:
        """Pass a command on. Without a supervisor this is not answered: the next one ends us, and who asked asks the next worker."""
        try:
            self._life.line.send(command.encode())
        except OSError:
            await trio.sleep_forever()

    async def _hear(self, line: trio.socket.SocketType) -> bytes:
        try:
            return await line.recv(64)
        except OSError:
            return b""

    async def _answer_commands(self, listener: socket.socket) -> None:
        server = trio.SocketListener(trio.socket.from_stdlib_socket(listener.dup()))
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
            if request.command in ("switch", "show"):  # what they are about may lie in a shared pool that is new
                await trio.to_thread.run_sync(use_what_is_there, self._post.store, log.error)
            if request.command == "switch":
                await self.switch(request.environment)
            elif request.command == "show":
                return Reply(slot=self._add_slot(request))
            elif request.command == "forget":
                await self._forget_environment(request.environment)
            elif request.command in ("stop", "upgrade"):
                await self._tell_supervisor(request.command)
            elif request.command != "status":
                return Reply(f"unknown command {request.command!r}")
            return await self._status()
        except (CasfsError, ValueError, TypeError) as error:
            return Reply(str(error))
        except Exception:
            log.exception("a command failed")
            return Reply("failed; the daemon's log says why")

    async def _status(self) -> Reply:
        return Reply(
            generations=await trio.to_thread.run_sync(self._generations),
            uptime_s=round(time.monotonic() - self._began, 1),
            requests=dict(self._operations.requests),
            latency=summarize(self._operations.durations),
            open_blobs=len(self._descriptors),
            resident_bytes=_resident_bytes("self"),
            worker=os.getpid(),
            supervisor=self._supervisor,
            restarts=self._life.restarts,
            reason=self._life.reason,
            casfs_version=__version__,
            descriptors=len(os.listdir("/proc/self/fd")) - 1,  # one of them is the listing's own
            supervisor_resident_bytes=_resident_bytes(str(self._supervisor)),
        )

    def _generations(self) -> dict[str, int]:
        """What is shown of each environment, or would be if somebody looked."""
        shown = self._post.shown
        names = [slot.environment for slot in shown.slots if slot.environment] if isinstance(shown, Host) else [self._post.environment]
        seen = {name: view.generation_number for _, name, view in self._views()}
        return {name: seen.get(name) or Environment(self._post.store, name).current_number() or 0 for name in names}

    def _views(self) -> list[tuple[int, str, View]]:
        """(slot, environment, view) of all that follows the current generation and was looked into; slot 0 where a mount shows one."""
        shown = self._post.shown
        return shown.changing_views() if isinstance(shown, Host) else [(0, self._post.environment, shown)]

    def _add_slot(self, request: Request) -> str:
        if not isinstance(self._post.shown, Host):
            raise CasfsError(request.environment, "this daemon serves one environment")
        return self._post.shown.add_slot(Slot(request.environment, request.uid, request.gid, request.generation, request.attributes))

    async def _forget_environment(self, environment: str) -> None:
        """Let the kernel and us know nothing of an environment that nobody sees any more, and that is removed."""
        if not isinstance(host := self._post.shown, Host):
            raise CasfsError(environment, "this daemon serves one environment")
        async with self._switching:
            for name in host.slot_names(environment):
                await trio.to_thread.run_sync(_invalidate_root, name)
            host.retire(environment)
            await trio.to_thread.run_sync(self._post.generations.forget, environment)

    async def switch(self, environment: str) -> None:
        """Show the generation of an environment that is current now. When this returns, nobody sees the one before any more."""
        async with self._switching:
            if isinstance(self._post.shown, Host) and environment in self._post.generations.numbers:
                self._post.shown.view(environment)  # what a worker before this one showed, the kernel may remember
            view = next((view for _, name, view in self._views() if name == environment), None)
            if view is None:
                return
            generation = await trio.to_thread.run_sync(Environment(self._post.store, environment).require)
            await trio.to_thread.run_sync(view.read_tree)
            if generation.number != view.tree.generation.number:
                tree, differences = await trio.to_thread.run_sync(view.prepare, generation)
                view.show(tree)
                self._unforgotten += [(slot, differences) for slot, name, _ in self._views() if name == environment]
            await self._forget()
            await trio.to_thread.run_sync(self._post.generations.write, environment, generation.number)

    async def _forget(self) -> None:
        """Make the kernel forget what differs; what could not be told now is told at the next switch."""
        while self._unforgotten:
            await trio.to_thread.run_sync(_invalidate, *self._unforgotten[0])
            del self._unforgotten[0]

    async def _catch_up(self) -> None:
        """Finish what the worker before this one was doing when it died."""
        for name, number in self._post.generations.numbers.copy().items():
            if Environment(self._post.store, name).current_number() != number:
                with contextlib.suppress(CasfsError):  # told to whoever looks into the environment
                    await self.switch(name)


def _is_gone(path: str) -> bool:
    try:
        os.stat(path)
    except FileNotFoundError:
        return True
    except OSError:  # a disk in trouble
        return False
    return False


async def _receive_line(stream: trio.SocketStream) -> bytes:
    """What is sent of a line within the time: who connects and says nothing takes a descriptor from the blobs."""
    line = b""
    with trio.move_on_after(_PATIENCE_S):
        while not line.endswith(b"\n") and len(line) < MAX_REQUEST and (chunk := await stream.receive_some(4096)):
            line += chunk
    return line


def _peer_user(connection: trio.socket.SocketType) -> int:
    """User of the process at the other end (unix(7), SO_PEERCRED)."""
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(user)


def _resident_bytes(process: str) -> int:
    """Memory of a process; 0 if it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{process}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
    return 0


def _invalidate(slot: int, differences: list[ChangedEntry | ChangedDirectory]) -> None:
    """Tell the kernel what to forget. It may block until requests that are on their way have been answered."""
    for change in differences:
        directory = _number(slot, change.directory)
        with contextlib.suppress(FileNotFoundError):  # the kernel did not know it
            if isinstance(change, ChangedEntry):
                pyfuse3.invalidate_entry(pyfuse3.InodeT(directory), pyfuse3.FileNameT(change.name.encode("utf-8", "surrogateescape")))
            else:
                pyfuse3.invalidate_inode(pyfuse3.InodeT(directory), attr_only=True)


def _invalidate_root(name: str) -> None:
    """Tell the kernel to forget a slot's directory."""
    with contextlib.suppress(FileNotFoundError):  # it did not know it
        pyfuse3.invalidate_entry(pyfuse3.InodeT(ROOT), pyfuse3.FileNameT(os.fsencode(name)))


def _number(slot: int, directory: DirectoryNode) -> int:
    number = encode_directory(directory.identity) if directory.path else ROOT
    return host_number(slot, number) if slot else number

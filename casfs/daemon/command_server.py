"""The process beside a daemon that runs commands in its place (`casfs.cli.server`): how the daemon starts and ends it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

from casfs.daemon.control import socket_path
from casfs.daemon.start import without_command_server
from casfs.store.leases import Lease
from casfs.store.store import Store

_SUFFIX = ".commands"


class CommandServer:
    """The server of a daemon. It is a program of its own, that has nothing of ours: what it forks for a command inherits from it alone."""

    def __init__(self, store: Store, lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless another daemon of the store has one. It is a help, and no more: where there is none, commands take longer."""
        if without_command_server or self._lease.generation or any(map(self._is_answered, os.listdir(self._store.run_path()))):
            return
        with contextlib.suppress(OSError), self._listen() as listener:
            fd = listener.fileno()
            command = [sys.executable, "-m", "casfs", "--store", self._store.root, "daemon", "answer", str(fd)]
            null = subprocess.DEVNULL
            self._process = subprocess.Popen(command, pass_fds=[fd], cwd="/", stdin=null, stdout=null, stderr=null, start_new_session=True)

    def _listen(self) -> socket.socket:
        """Its socket, on which it listens once it can answer. Only who runs the daemon may connect."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):  # of the one before us, which was upgraded
            os.unlink(self._path())
        with self._directory() as directory_fd:
            listener.bind(socket_path(directory_fd, self._lease.id, _SUFFIX))
        os.chmod(self._path(), 0o600)
        return listener

    def _is_answered(self, name: str) -> bool:
        if not name.endswith(_SUFFIX):
            return False
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer, self._directory() as directory_fd:
            peer.settimeout(1.0)
            peer.connect(socket_path(directory_fd, name, ""))
            return True
        return False

    def _path(self) -> str:
        return self._store.run_path(self._lease.id + _SUFFIX)

    @contextlib.contextmanager
    def _directory(self) -> Iterator[int]:
        fd = os.open(self._store.run_path(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def close(self) -> None:
        """End it; commands that it has begun go on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

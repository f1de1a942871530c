"""Commands in forks of a process that has imported all of casfs: each takes a tenth of what a start of Python costs.

As a program it reads requests from the socket that is its standard input, each with the standard streams of a command. It answers each
with the process that runs the command, and with its exit status once it has ended.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import json
import os
import pkgutil
import queue
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import casfs.cli
from tests.make_wheels import make_wheel

_REPOSITORY = Path(__file__).parent.parent

_READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_")
"""Beginnings of the variables that count when Python starts, and never again."""

Beside = Callable[[int], AbstractContextManager[None]]
"""What is done while a process runs; it is told which."""


class Prepared:
    """Some of these processes, as many as commands run at once. Each is started when it is first needed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """`environ` has the variables of all commands; what a command asks for may differ from it where `fits` says so."""
        self._environ = dict(environ)
        self._idle: queue.LifoQueue[tuple[subprocess.Popen[bytes], socket.socket]] = queue.LifoQueue()

    def fits(self, environ: Mapping[str, str]) -> bool:
        """Whether a command with these variables does here what it does in a process of its own."""
        names = {name for name in {*environ, *self._environ} if name.startswith(_READ_AT_START)}
        return all(environ.get(name) == self._environ.get(name) for name in names)

    def run(
        self,
        words: Sequence[object],
        environ: Mapping[str, str] | None = None,
        cwd: str | Path = _REPOSITORY,
        timeout_s: float | None = None,
        beside: Beside | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `casfs WORDS` to its end, as subprocess.run does. It makes its first step when `beside` is entered."""
        command = ["casfs", *map(str, words)]
        request = {"words": command[1:], "environ": dict(environ or self._environ), "cwd": str(cwd), "waits": beside is not None}
        with self._taken() as requests, _pipes(2) as (readers, writers), open(os.devnull, "rb") as null:
            socket.send_fds(requests, [json.dumps(request).encode()], [null.fileno(), *(one.fileno() for one in writers)])
            for one in writers:
                one.close()
            pid = int(requests.recv(32))
            with _killed_on_error(pid), beside(pid) if beside else contextlib.nullcontext():
                if beside:
                    os.kill(pid, signal.SIGCONT)
                texts = _read_all([one.fileno() for one in readers], command, timeout_s)
                code = os.waitstatus_to_exitcode(int(requests.recv(32)))
        return subprocess.CompletedProcess(command, code, *texts)

    @contextlib.contextmanager
    def _taken(self) -> Iterator[socket.socket]:
        """A process that nobody else uses. It is used again, unless something went wrong."""
        try:
            process, requests = self._idle.get_nowait()
        except queue.Empty:
            process, requests = self._start()
        try:
            yield requests
        except BaseException:
            _end(process, requests)
            raise
        self._idle.put((process, requests))

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            fd = theirs.fileno()
            command = [sys.executable, "-m", "tests.prepared"]
            # Python asks now whether its standard streams can be sought in: those of a command are pipes, which can't either.
            return subprocess.Popen(command, env=self._environ, cwd=_REPOSITORY, stdin=fd, stdout=fd, stderr=fd), ours

    def end(self) -> None:
        while not self._idle.empty():
            _end(*self._idle.get())


def _end(process: subprocess.Popen[bytes], requests: socket.socket) -> None:
    requests.close()
    process.wait()


@contextlib.contextmanager
def _pipes(count: int) -> Iterator[tuple[list[io.FileIO], list[io.FileIO]]]:
    """The ends of pipes to read from, and those to write to; all are closed at last."""
    with contextlib.ExitStack() as stack:
        pairs = [tuple(stack.enter_context(io.FileIO(fd, mode)) for fd, mode in zip(os.pipe(), "rw", strict=True)) for _ in range(count)]
        yield [one for one, _ in pairs], [one for _, one in pairs]


@contextlib.contextmanager
def _killed_on_error(pid: int) -> Iterator[None]:
    """Whoever leaves the block by an exception leaves no process behind."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        raise


def _read_all(fds: Sequence[int], command: list[str], timeout_s: float | None) -> list[str]:
    """The text that comes out of each pipe until nobody writes into it any more. Raises TimeoutExpired."""
    found: dict[int, list[bytes]] = {fd: [] for fd in fds}
    end = None if timeout_s is None else time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        for fd in fds:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(None if end is None else max(end - time.monotonic(), 0))
            if not ready:
                raise subprocess.TimeoutExpired(command, timeout_s or 0)
            for key, _ in ready:
                if part := os.read(key.fd, 1 << 16):
                    found[key.fd].append(part)
                else:
                    selector.unregister(key.fd)
    return [io.TextIOWrapper(io.BytesIO(b"".join(parts)), encoding="utf-8").read() for parts in found.values()]


def main() -> None:
    """Answer requests until there are no more."""
    from casfs.cli.main import main as casfs_main

    requests = socket.socket(fileno=os.dup(0))
    _warm_up()
    while True:
        text, streams, *_ = socket.recv_fds(requests, 1 << 20, 3)
        if not text:
            return
        request = json.loads(text)
        if (pid := os.fork()) == 0:
            break
        for fd in streams:
            os.close(fd)
        if request["waits"]:
            os.waitpid(pid, os.WUNTRACED)
        requests.send(b"%d" % pid)
        requests.send(b"%d" % os.waitpid(pid, 0)[1])
    requests.close()
    _become(request, streams)
    try:
        casfs_main(request["words"])
    except SystemExit as end:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(
            end.code if isinstance(end.code, int) else 1
        )  # to free every object of all that was imported takes longer than most commands


def _become(request: Mapping[str, Any], streams: Sequence[int]) -> None:
    """What the process of a command is when it starts; one that waits goes on from here when it is told to."""
    for target, fd in enumerate(streams):
        os.dup2(fd, target)
        os.close(fd)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    if request["waits"]:
        os.kill(os.getpid(), signal.SIGSTOP)


def _warm_up() -> None:
    """Import what commands import when they run, by running some."""
    from casfs.cli.main import main as casfs_main

    for module in pkgutil.iter_modules(casfs.cli.__path__, "casfs.cli."):
        importlib.import_module(module.name)
    with contextlib.ExitStack() as stack:
        top = stack.enter_context(tempfile.TemporaryDirectory())
        null = stack.enter_context(open(os.devnull, "w", encoding="ascii"))
        stack.enter_context(contextlib.redirect_stdout(null))
        stack.enter_context(contextlib.redirect_stderr(null))
        launchers = "[console_scripts]\nwarm = warm:main\n"
        wheels = [make_wheel({"warm.py": b""}, "warm", version, entry_points=launchers).write_to(Path(top)) for version in ("1.0", "2.0")]
        adds = [["add", "--python", sys.executable, str(wheel)] for wheel in wheels]
        for words in (*adds, ["list"], ["status"], ["fsck"], ["generations"], ["rollback"], ["remove", "warm"], ["collect", "--keep", "1"]):
            with contextlib.suppress(SystemExit):
                casfs_main(["--store", f"{top}/store", *words])


if __name__ == "__main__":
    main()

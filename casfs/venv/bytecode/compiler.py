"""Compiler: processes of an environment's interpreter that turn sources into bytecode and do nothing else.

A source is given to a process as bytes, and what comes back is checked: nothing of a wheel is imported, and no file is read or written. A
hostile source can make a compiler crash, take for ever or eat memory. The first two end the process and the third is refused by the
system; another process takes its place, and the source counts as one that does not compile.
"""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import select
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from casfs.errors import InterpreterRefused, reason_of
from casfs.store.bytecode import Target

Job = TypeVar("Job")

_PROGRAM = """\
import marshal, struct, sys
import _frozen_importlib_external, _signal
read, write = sys.stdin.buffer.read, sys.stdout.buffer.write
magic = _frozen_importlib_external.MAGIC_NUMBER
write(magic + sys.implementation.cache_tag.encode() + b"\\n")
sys.stdout.buffer.flush()
while True:
    head = read(7)
    if len(head) < 7:
        break
    level, name, size = struct.unpack(">BHI", head)
    name, source = read(name).decode(), read(size)
    _signal.setitimer(_signal.ITIMER_PROF, CPU_LIMIT_S)
    try:
        code = compile(source, name, "exec", dont_inherit=True, optimize=level)
        reply = marshal.dumps(code)
    except Exception:
        reply = b""
    _signal.setitimer(_signal.ITIMER_PROF, 0)
    write(struct.pack(">I", len(reply)) + reply)
    sys.stdout.buffer.flush()
    code = source = reply = None
"""
"""Runs on every Python that casfs serves. The timer's signal ends the process (setitimer(2))."""

_CPU_LIMIT_S = 30  # the largest sources of the 800 best-known wheels, 3 MB of tables, take 2

_HANG_S = 600.0  # of no answer at all; the processor may be busy with something else

_START_S = 30.0  # from a cold network disk

_COMMAND = ("-I", "-S", "-B", "-X", "utf8", "-W", "ignore", "-c", _PROGRAM.replace("CPU_LIMIT_S", str(_CPU_LIMIT_S)))

_MEMORY_LIMIT = 2 << 30  # bytes of addresses; a source takes about 100 times its size

_LIMITS = ((resource.RLIMIT_AS, _MEMORY_LIMIT), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0))

_MAX_REPLY = 256 << 20

_CODE_TYPE = b"\xe3"  # marshal's mark of a code object that others may refer to

_AT_ONCE = 256  # so many results may wait for whoever takes them


class _Ended(Exception):
    """The process is gone, or answers nothing that makes sense."""


class _Process:
    """One process of the interpreter."""

    def __init__(self, executable: str, target: Target) -> None:
        """Raises InterpreterRefused."""
        try:
            self._process = subprocess.Popen(
                [executable, *_COMMAND],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for us, and we end it
            )
        except OSError as error:
            raise InterpreterRefused(executable, f"can't be run: {reason_of(error)}") from None
        try:
            self._limit()
            is_right = self._read(4, _START_S) == bytes.fromhex(target.magic)
            is_right = is_right and self._read(len(target.cache_tag) + 1, _START_S) == target.cache_tag.encode() + b"\n"
        except _Ended:
            is_right = False
        if not is_right:
            self.close()
            raise InterpreterRefused(executable, f"does not make bytecode for {target.cache_tag}, magic number {target.magic}")

    def _limit(self) -> None:
        for limit, most in _LIMITS:
            with contextlib.suppress(ProcessLookupError):
                _, hard = resource.prlimit(self._process.pid, limit)
                most = most if hard == resource.RLIM_INFINITY else min(most, hard)
                resource.prlimit(self._process.pid, limit, (most, most))

    def compile(self, source: bytes, name: str, level: int) -> bytes | None:
        """The code, None if the source does not compile. Raises _Ended."""
        encoded = name.encode()
        self._write(struct.pack(">BHI", level, len(encoded), len(source)) + encoded + source)
        [size] = struct.unpack(">I", self._read(4, _HANG_S))
        if size > _MAX_REPLY:
            raise _Ended
        reply = self._read(size, _HANG_S)
        if not reply:
            return None
        if not reply.startswith(_CODE_TYPE):
            raise _Ended
        return reply

    def _write(self, content: bytes) -> None:
        assert self._process.stdin is not None
        view = memoryview(content)
        try:
            while view:
                view = view[self._process.stdin.write(view) :]
        except OSError:
            raise _Ended from None

    def _read(self, size: int, timeout_s: float) -> bytes:
        assert self._process.stdout is not None
        fd, until = self._process.stdout.fileno(), time.monotonic() + timeout_s
        content = bytearray()
        while len(content) < size:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            is_ready = poll.poll(max(0.0, until - time.monotonic()) * 1000)
            if not is_ready or not (chunk := os.read(fd, min(size - len(content), 1 << 20))):
                raise _Ended
            content += chunk
        return bytes(content)

    @property
    def took_too_long(self) -> bool:
        """Whether its timer ended it."""
        return self._process.returncode == -signal.SIGPROF

    def kill(self) -> None:
        """End it. May be called while another thread waits for it, and more than once."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)  # a wrapper script has started others
        self._process.wait()

    def close(self) -> None:
        """End it and let go of its pipes. Nobody may be waiting for it."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Compiler:
    """Processes of one interpreter. A context manager: leaving it ends them."""

    def __init__(self, executable: str, target: Target, processes: int) -> None:
        """Raises InterpreterRefused if the interpreter does not start, or is another one."""
        self._executable = executable
        self._target = target
        self._count = processes
        self._lock = threading.Lock()
        self._is_over = False
        self._all: set[_Process] = set()
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._idle.put(self._start())

    def __enter__(self) -> Compiler:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self._all:
            process.close()

    def run(self, jobs: Sequence[Job], read: Callable[[Job], tuple[bytes, str]]) -> Generator[tuple[Job, bytes | None], None, None]:
        """Each job with the code, None if it does not compile. Whoever stops before the end closes it.

        `read` gives a source and the name that its code shall have.
        """
        threads = ThreadPoolExecutor(self._count)
        try:
            for start in range(0, len(jobs), _AT_ONCE):
                some = jobs[start : start + _AT_ONCE]
                yield from zip(some, threads.map(lambda job: self._compile(*read(job)), some), strict=True)
        finally:
            self._end()
            threads.shutdown(cancel_futures=True)

    def _compile(self, source: bytes, name: str) -> bytes | None:
        """Once more in a new process, if one ends and did not take too long: it may be the system's fault."""
        for _ in range(2):
            process = self._take()
            try:
                result = process.compile(source, name, self._target.level)
            except _Ended:
                self._drop(process)
                if process.took_too_long:
                    return None
            else:
                self._idle.put(process)
                return result
        return None

    def _take(self) -> _Process:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._start()

    def _start(self) -> _Process:
        process = _Process(self._executable, self._target)
        with self._lock:
            self._all.add(process)
            is_over = self._is_over
        if is_over:
            process.kill()
        return process

    def _drop(self, process: _Process) -> None:
        process.close()
        with self._lock:
            self._all.discard(process)

    def _end(self) -> None:
        """Let every thread that waits for a process go on."""
        with self._lock:
            self._is_over = True
            running = [*self._all]
        for process in running:
            process.kill()

"""A process that has imported all of casfs, and runs a command in a fork of itself: a tenth of what a start of Python costs.

As a program it reads requests and answers each with two lines: the process that will run the command and has stopped itself, so that a
tracer can attach before the command's first step, and, once that was continued and has ended, its exit status.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.faults.commands import VARIABLES, Done


class Prepared:
    """Some of these processes, for as many threads."""

    def __init__(self, directory: Path, count: int) -> None:
        self._directory = directory
        self._numbers = itertools.count()
        self._idle: queue.Queue[subprocess.Popen[str]] = queue.Queue()
        for _ in range(count):
            command = [sys.executable, "-m", "tests.faults.prepared"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self._idle.put(subprocess.Popen(command, env=VARIABLES, cwd="/", text=True, **pipes))  # type: ignore[call-overload]
        self._all = list(self._idle.queue)

    def run(self, store: Path, *words: object, tracer: Sequence[str] = ()) -> Done:
        """Run `casfs WORDS` to its end, under strace with the options `tracer` if there are any."""
        outputs = [self._directory / f"{next(self._numbers)}" for _ in range(2)]
        with self._taken() as process:
            code = _run(process, ["--store", str(store), *map(str, words)], [str(path) for path in outputs], tracer)
        output, errors = (path.read_text() for path in outputs)
        for path in outputs:
            path.unlink()
        return Done(code, output, errors)

    @contextlib.contextmanager
    def _taken(self) -> Iterator[subprocess.Popen[str]]:
        process = self._idle.get()
        try:
            yield process
        finally:
            self._idle.put(process)

    def end(self) -> None:
        for process in self._all:
            with process:
                assert process.stdin
                process.stdin.close()


def _run(process: subprocess.Popen[str], words: list[str], outputs: list[str], tracer: Sequence[str]) -> int:
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps({"words": words, "outputs": outputs}) + "\n")
    process.stdin.flush()
    pid = int(process.stdout.readline())
    with _attached(pid, tracer):
        os.kill(pid, signal.SIGCONT)
        return os.waitstatus_to_exitcode(int(process.stdout.readline()))


@contextlib.contextmanager
def _attached(pid: int, tracer: Sequence[str]) -> Iterator[None]:
    """While strace, with these options, follows a process."""
    if not tracer:
        yield
        return
    with subprocess.Popen(["strace", "-p", str(pid), *tracer], stderr=subprocess.PIPE, text=True) as strace:
        try:
            assert strace.stderr
            said = strace.stderr.readline()
            assert said.endswith("attached\n"), said
            yield
        except BaseException:
            strace.kill()
            raise


def main() -> None:
    """Answer requests until there are no more."""
    from casfs.cli.main import main as casfs_main

    _warm_up()
    for line in sys.stdin:
        request = json.loads(line)
        if (pid := os.fork()) == 0:
            _become(request["outputs"])
            os.kill(os.getpid(), signal.SIGSTOP)
            casfs_main(request["words"])  # ends by SystemExit, as the command does
        os.waitpid(pid, os.WUNTRACED)
        os.write(1, f"{pid}\n".encode())
        os.write(1, f"{os.waitpid(pid, 0)[1]}\n".encode())


def _warm_up() -> None:
    """Import what commands import when they run, by running them."""
    from casfs.cli.main import main as casfs_main
    from tests.faults.scene import synthetic_wheel

    with contextlib.ExitStack() as stack:
        top = stack.enter_context(tempfile.TemporaryDirectory())
        null = stack.enter_context(open(os.devnull, "w", encoding="ascii"))
        stack.enter_context(contextlib.redirect_stdout(null))
        stack.enter_context(contextlib.redirect_stderr(null))
        wheels = [synthetic_wheel("warm", version).write_to(Path(top)) for version in ("1.0", "2.0")]
        adds = [["add", "--python", sys.executable, str(wheel)] for wheel in wheels]
        for words in (*adds, ["list"], ["fsck"], ["generations"], ["rollback"], ["remove", "warm"], ["collect", "--keep", "1"]):
            with contextlib.suppress(SystemExit):
                casfs_main(["--store", f"{top}/store", *words])


def _become(outputs: Sequence[str]) -> None:
    """What a command's process is: nothing to read, and its outputs where they are asked for."""
    for target, path in enumerate((os.devnull, *outputs)):
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(fd, target)
        os.close(fd)


if __name__ == "__main__":
    main()

"""Processes: run one and see what it took; and let none outlive the benchmark."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from scripts.bench.load import live_descendants

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


class CommandFailed(Exception):
    """A command ended with an error."""

    def __init__(self, command: Sequence[str], code: int, output: str) -> None:
        shown = " ".join(command[:6]) + (" ..." if len(command) > 6 else "")
        super().__init__(f"`{shown}` ended with {code}: {output.strip()[-800:]}")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command took.

    `peak` is the largest resident size, in bytes, of the process and of the children that it waited for. It is never less than that of this
    process (exec(2) hands the mark on), which is why the runner keeps itself small.
    """

    seconds: float
    peak: float
    output: str


def run(command: Sequence[str], env: Mapping[str, str], cwd: str = "/") -> Usage:
    """Run a command to its end. Raises CommandFailed."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
        if process.returncode:
            errors.seek(0)
            raise CommandFailed(command, process.returncode, errors.read().decode(errors="replace") or text)
    return Usage(seconds, usage.ru_maxrss * 1024, text)


@contextlib.contextmanager
def adopting_orphans() -> Iterator[None]:
    """Be the parent of descendants whose parent ends, so that a daemon can be counted, awaited and ended."""
    _set_subreaper(1)
    try:
        yield
    finally:
        _set_subreaper(0)


def _set_subreaper(value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def reap(process: int) -> None:
    """Wait for the end of an adopted process."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process, 0)


def end_descendants() -> None:
    """Kill what is left of what we started."""
    while left := live_descendants():
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        reap(left[0])

"""Processes: run one and see what it took; and let none outlive the benchmark."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from scripts.bench.load import live_descendants

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)

_LAUNCHER = str(Path(__file__).with_name("launcher.py"))
_NOT_STARTED = 127 << 8  # the status of a shell whose command there is not


class CommandFailed(Exception):
    """A command ended with an error."""

    def __init__(self, command: Sequence[str], code: int, output: str) -> None:
        shown = " ".join(command[:6]) + (" ..." if len(command) > 6 else "")
        super().__init__(f"`{shown}` ended with {code}: {output.strip()[-800:]}")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command took.

    `peak` is the largest resident size, in bytes, of the process and of the children that it waited for; never less than some 10 MB, which
    is the launcher's.
    """

    seconds: float
    peak: float
    output: str


def run(command: Sequence[str], env: Mapping[str, str], cwd: str = "/") -> Usage:
    """Run a command to its end. Raises CommandFailed."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        report = _launch(json.dumps([list(command), dict(env), cwd]), output, errors)
        output.seek(0)
        text = output.read().decode(errors="replace")
        status, seconds, kilobytes = json.loads(report) if report else (_NOT_STARTED, 0.0, 0)
        if code := os.waitstatus_to_exitcode(status):
            errors.seek(0)
            raise CommandFailed(command, code, errors.read().decode(errors="replace") or text)
    return Usage(seconds, kilobytes * 1024, text)


def _launch(job: str, output: IO[bytes], errors: IO[bytes]) -> bytes:
    """The launcher's report; empty if the command could not be started."""
    ours, theirs = os.pipe()
    command = [sys.executable, "-I", "-S", _LAUNCHER, str(theirs)]
    with os.fdopen(ours, "rb") as report:
        launcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=errors, text=True, pass_fds=(theirs,))
        os.close(theirs)
        launcher.communicate(job)
        return report.read()


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


def end_descendants(but: Collection[int] = ()) -> None:
    """Kill what is left of what we started, but for these processes."""
    while left := [process for process in live_descendants() if process not in but]:
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        reap(left[0])

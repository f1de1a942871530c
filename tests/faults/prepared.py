"""Commands as tests of faults run them: in forks of a prepared process, which strace may follow from the first step."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests import prepared
from tests.faults.commands import VARIABLES, Done


class Prepared:
    """Runs commands fast, as many at a time as there are threads that ask for it."""

    def __init__(self) -> None:
        self._processes = prepared.Prepared(VARIABLES)

    def run(self, store: Path, *words: object, tracer: Sequence[str] = ()) -> Done:
        """Run `casfs WORDS` to its end, under strace with the options `tracer` if there are any."""
        beside = (lambda pid: _attached(pid, tracer)) if tracer else None
        done = self._processes.run(["--store", store, *words], cwd="/", beside=beside)
        return Done(done.returncode, done.stdout, done.stderr)

    def end(self) -> None:
        self._processes.end()


@contextlib.contextmanager
def _attached(pid: int, tracer: Sequence[str]) -> Iterator[None]:
    """While strace, with these options, follows a process."""
    with subprocess.Popen(["strace", "-p", str(pid), *tracer], stderr=subprocess.PIPE, text=True) as strace:
        try:
            assert strace.stderr
            said = strace.stderr.readline()
            assert said.endswith("attached\n"), said
            yield
        except BaseException:
            strace.kill()
            raise

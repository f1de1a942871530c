"""Tests run most commands in forks of a prepared process: they end there as they do in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from casfs.store.environments import Environment
from casfs.store.store import open_store
from tests.mounted.harness import Casfs, clean_environ
from tests.prepared import Prepared


@pytest.fixture(scope="module")
def prepared() -> Iterator[Prepared]:
    one = Prepared(clean_environ())
    yield one
    one.end()


@pytest.mark.parametrize(
    "words",
    [
        ("--version",),
        ("list", "--help"),
        ("list", "--json"),
        ("bogus",),
        ("remove", "bogus"),
        ("add", "missing-1.0-py3-none-any.whl"),
        ("show", "./pyproject.toml"),
        ("run", "--", "sh", "-c", "echo $0 $HOME; pwd; echo said >&2; exit 7"),
        ("run", "--", "sh", "-c", "kill -9 $$"),
        ("run", "--", "python", "-c", "import os, sys; print(sys.flags, os.umask(0), os.listdir('/proc/self/fd'))"),
        ("run", "--", "grep", "-E", "^(Sig[^Q]|Shd|Cap|Seccomp)", "/proc/self/status"),
    ],
    ids=lambda words: words[-1][:20],
)
def test_a_command_ends_as_in_a_process_of_its_own(casfs: Casfs, prepared: Prepared, words: Sequence[str]) -> None:
    environ = {**casfs.environ, "HOME": "/nowhere"}
    command = [sys.executable, "-m", "casfs", *words]
    real = subprocess.run(command, env=environ, cwd=casfs.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    done = prepared.run(words, environ, casfs.directory, timeout_s=60)
    assert (done.returncode, done.stdout, done.stderr) == (real.returncode, real.stdout, real.stderr)


def test_a_command_that_takes_too_long_is_killed_and_the_next_one_runs(casfs: Casfs, prepared: Prepared) -> None:
    wheel = casfs.wheel("demo")
    with Environment(open_store(casfs.store), "default").locked(), pytest.raises(subprocess.TimeoutExpired):
        prepared.run(["add", wheel], casfs.environ, timeout_s=1)
    assert prepared.run(["add", wheel], casfs.environ).stdout == "+ demo 1.0\n"


@pytest.mark.parametrize("name", ["PYTHONWARNINGS", "LC_ALL", "LANG", "LD_PRELOAD"])
def test_what_counts_when_python_starts_needs_a_process_of_its_own(prepared: Prepared, name: str) -> None:
    assert prepared.fits(clean_environ(HOME="/nowhere", CASFS_STORE="/nowhere"))
    assert not prepared.fits(clean_environ(**{name: "other"}))

"""sync of long locks: twice the lock takes twice the work, first and again, whatever is done with each of its wheels.

What is counted are calls, not time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.cli.package_index import PackageIndex
from tests.cli.test_locks import entry, write_lock
from tests.cli.test_names import casfs, index
from tests.mounted.harness import Casfs

__all__ = ["casfs", "index"]

_FEW = 20

_PROGRAM = """
import collections, json, sys
calls = collections.Counter()
def count(frame, event, called):
    if event == "call":
        calls[f"{frame.f_code.co_filename}:{frame.f_code.co_firstlineno} {frame.f_code.co_qualname}"] += 1
from casfs.cli.main import main
sys.setprofile(count)
try:
    main(sys.argv[2:])
except SystemExit as end:
    sys.setprofile(None)
    with open(sys.argv[1], "w") as file:
        json.dump(calls, file)
    sys.exit(end.code)
"""


def count_calls(casfs: Casfs, lock: Path) -> Mapping[str, int]:
    """How often each function is called, and each generator asked, when the lock is synced in a store of its own."""
    counted = casfs.directory / "counted"
    command = [sys.executable, "-c", _PROGRAM, counted, "--store", lock.with_suffix(".store"), "sync", lock]
    subprocess.run([str(one) for one in command], env=casfs.environ, check=True, capture_output=True)
    found = json.loads(counted.read_text())
    assert isinstance(found, dict)
    return found


def lock_of(casfs: Casfs, index: PackageIndex, count: int) -> Path:
    return write_lock(casfs, *(entry(index, f"p{number}") for number in range(count)), name=f"pylock.{count}.toml")


def requirements_of(casfs: Casfs, index: PackageIndex, count: int) -> Path:
    """Every second one by its URL."""
    files = [f"p{number}-1.0-py3-none-any.whl" for number in range(count)]
    urls = [index.file_url(file) for file in files]
    wanted = [f"p{number} @ {url}" if number % 2 else f"p{number}==1.0" for number, url in enumerate(urls)]
    path = casfs.directory / f"{count}.txt"
    path.write_text("".join(f"{one} --hash=sha256:{index.digests[file]}\n" for one, file in zip(wanted, files, strict=True)))
    return path


@pytest.mark.parametrize("write", [lock_of, requirements_of], ids=["pylock", "requirements"])
def test_no_function_is_called_more_than_twice_as_often_for_a_lock_of_twice_the_length(
    casfs: Casfs, index: PackageIndex, write: Callable[[Casfs, PackageIndex, int], Path]
) -> None:
    """One that compares each with all others would be called four times as often."""
    for number in range(2 * _FEW):
        index.offer(f"p{number}")
    few, many = write(casfs, index, _FEW), write(casfs, index, 2 * _FEW)
    for way in ("first", "again"):
        once, twice = (count_calls(casfs, lock) for lock in (few, many))
        more = {name: (once.get(name, 0), calls) for name, calls in twice.items() if calls > 2 * once.get(name, 0) + 4 * _FEW}
        assert more == {}, way

"""Every lock that commands and daemons take in a store stands in the table of `locking`, and they take them in its order."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from casfs.store import locking
from tests.mounted.harness import REPOSITORY, Casfs, site_packages

RECORDED = """
import fcntl, json, os, sys
report, lock = sys.argv[1], fcntl.flock

def held():
    for fd in os.listdir("/proc/self/fd"):
        try:
            with open(f"/proc/self/fdinfo/{fd}") as file:
                if "FLOCK" in file.read():
                    yield os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            pass

def flock(fd, how):
    before = sorted(set(held()))
    lock(fd, how)
    path = os.readlink(f"/proc/self/fd/{fd if isinstance(fd, int) else fd.fileno()}")
    if how == fcntl.LOCK_SH | fcntl.LOCK_NB and "/locks/" not in path:
        return  # only asks whether a process lives
    with open(report, "a") as file:
        file.write(json.dumps([path, [other for other in before if other != path]]) + chr(10))

fcntl.flock = flock
from casfs.cli.main import main
main(sys.argv[2:])
"""


def read_table() -> tuple[list[re.Pattern[str]], list[re.Pattern[str]]]:
    """A pattern for each lock that is waited for, in the order of the table, and for each that is not."""
    _, waited, owned, *_ = re.split(r"^.*:$", locking.__doc__ or "", flags=re.MULTILINE)
    return _read_rows(waited), _read_rows(owned)


def _read_rows(text: str) -> list[re.Pattern[str]]:
    rows = [line.split()[0] for line in text.splitlines() if line.startswith("    ") and line[4:5].strip()]
    return [re.compile(re.sub(r"<[a-z]+>", "[^/]+", row)) for row in rows]


@pytest.fixture
def events(casfs: Casfs) -> list[tuple[str, list[str]]]:
    """(lock taken, locks held then) of many commands, by their paths in the store."""
    report = casfs.directory / "locks.jsonl"
    wheels = [casfs.wheel("demo", version, {"demo/__init__.py": version.encode()}) for version in ("1.0", "2.0")]
    lock, plain, mountpoint = casfs.directory / "pylock.toml", casfs.directory / "plain", casfs.directory / "venv"

    def run(*words: str | Path) -> None:
        command = [sys.executable, "-c", RECORDED, str(report), *map(str, words)]
        subprocess.run(command, env=casfs.environ, cwd=REPOSITORY, check=True, capture_output=True)

    run("add", wheels[0])
    shared = casfs.directory / "shared"
    run("--store", shared, "add", wheels[0])
    run("pool", "add", shared)
    run("mount", mountpoint)
    run("add", wheels[1])
    (site_packages(mountpoint) / "mine.py").write_text("")
    run("diff")
    run("absorb")
    run("reset", "--yes")
    run("lock", "-o", lock)
    run("sync", lock, "--env", "other")
    run("rollback")
    run("compile")
    run("remove", "demo")
    run("export", plain)
    run("adopt", plain, "--env", "adopted")
    run("run", "--", "true")
    run("fsck")
    run("umount", mountpoint)
    run("mount", "--data-path", "fuse", mountpoint)
    run("umount", mountpoint)
    run("env", "remove", "other")
    run("collect", "--unused-wheels", "--keep", "1")
    found = [json.loads(line) for line in report.read_text().splitlines()]
    prefix = f"{os.path.realpath(casfs.store)}/"
    mine = [(taken, [path for path in held if path.startswith(prefix)]) for taken, held in found if taken.startswith(prefix)]
    return [(taken.removeprefix(prefix), [path.removeprefix(prefix) for path in held]) for taken, held in mine]


def test_locks_are_those_of_the_table_and_taken_in_its_order(events: list[tuple[str, list[str]]]) -> None:
    waited, owned = read_table()
    assert (len(waited), len(owned)) == (9, 3)

    def row_of(path: str) -> int | None:
        return next((row for row, pattern in enumerate([*waited, *owned]) if pattern.fullmatch(path)), None)

    assert {path for path, _ in events if row_of(path) is None} == set()
    assert {row_of(path) for path, _ in events} == set(range(len(waited) + len(owned)))
    order = {path: row for path, _ in events if (row := row_of(path)) is not None and row < len(waited)}
    nested = [(other, path) for path, held in events for other in held if path in order and other in order]
    assert [(other, path) for other, path in nested if order[other] > order[path]] == []
    assert nested

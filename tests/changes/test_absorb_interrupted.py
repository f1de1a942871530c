"""Absorb, killed or failing at each of its steps: a mount shows the same all the time, and the next absorb finishes the work."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from casfs.changes.absorb import absorb_upper
from casfs.store import publish
from casfs.store.fsck.check import check_store
from casfs.upper import copying
from tests.changes.test_absorb import comparable
from tests.make_generations import Workshop, open_workshop
from tests.make_wheels import make_wheel
from tests.mounted.harness import REPOSITORY
from tests.upper.uppers import SITE, MountedWorkshop

KILLED_AT = """
import sys
from pathlib import Path
from casfs.store import publish
from casfs.store.environments import Environment
from casfs.store.store import open_store
from casfs.changes import absorb
from casfs.upper import copying
from tests.dying import die_at

store, name, moment, count = sys.argv[1:]
owners = {"publish": Environment, "sync_file_system": publish, **dict.fromkeys(("next_upper", "build_upper", "make_current"), copying)}
owner = owners.get(name, absorb)
die_at(owner, name, moment, int(count))
absorb.absorb_upper(Environment(open_store(Path(store)), "test"))
"""

STEPS = [
    ("stage_installed", "after"),
    ("absorb_staged", "before"),
    ("absorb_staged", "after"),
    ("publish", "before"),
    ("publish", "after"),
    ("plan_next_upper", "before"),
    ("next_upper", "after"),
    ("build_upper", "before"),
    ("build_upper", "after"),
    ("make_current", "before"),
    ("make_current", "after"),
]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[MountedWorkshop]:
    with open_workshop(tmp_path) as workshop:
        workshop.add(make_wheel(None, "other"), make_wheel(None, "leaving"))
        mounted = MountedWorkshop(workshop)
        mounted.install("demo")
        mounted.uninstall("leaving")
        mounted.write(f"{SITE}/mine.py", b"mine")
        mounted.write(f"{SITE}/other/__init__.py", b"edited")
        yield mounted


def assert_finished(workshop: Workshop, mounted: MountedWorkshop) -> None:
    assert {one.project for one in workshop.environment.require().distributions} == {"other", "demo"}
    assert mounted.written() == [f"{SITE}/mine.py", f"{SITE}/other/__init__.py"]


SYNCS = 10
"""How often an absorb of one distribution syncs."""


@pytest.mark.parametrize(
    ("step", "moment", "count"), [*((*step, 1) for step in STEPS), *(("sync_file_system", "before", n + 1) for n in range(SYNCS))]
)
def test_killed_at_any_step(mounted: MountedWorkshop, step: str, moment: str, count: int):
    workshop, before = mounted.workshop, comparable(mounted.shown())
    command = [sys.executable, "-c", KILLED_AT, workshop.store.root, step, moment, str(count)]
    assert subprocess.run(command, cwd=REPOSITORY, check=False, timeout=240).returncode == -9
    assert comparable(mounted.shown()) == before
    assert check_store(workshop.store).damages == ()
    absorb_upper(workshop.environment)
    assert comparable(mounted.shown()) == before
    assert_finished(workshop, mounted)


def fail(*args: object, **options: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("module", "call"), [(os, "write"), (os, "pwrite"), (os, "mkdir"), (os, "utime"), (publish, "sync_file_system")])
def test_a_full_disk_at_any_step(mounted: MountedWorkshop, monkeypatch: pytest.MonkeyPatch, module: object, call: str):
    workshop, before = mounted.workshop, comparable(mounted.shown())
    with monkeypatch.context() as patch:
        patch.setattr(module, call, fail)
        with pytest.raises(OSError, match="No space left"):
            absorb_upper(workshop.environment)
    assert comparable(mounted.shown()) == before
    absorb_upper(workshop.environment)
    assert comparable(mounted.shown()) == before
    assert_finished(workshop, mounted)


def test_a_copy_that_fails_halfway_is_not_current(mounted: MountedWorkshop, monkeypatch: pytest.MonkeyPatch):
    present = mounted.upper
    with monkeypatch.context() as patch:
        patch.setattr(copying, "_copy_content", fail)
        with pytest.raises(OSError, match="No space left"):
            absorb_upper(mounted.workshop.environment)
    assert mounted.upper == present

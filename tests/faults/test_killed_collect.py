"""kill -9 of `casfs collect` at each step of removing."""

from __future__ import annotations

import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.collecting import KEPT, Collecting
from tests.faults.commands import read_contents
from tests.faults.scene import check_is_synthetic
from tests.faults.strace import kill

REMOVING = ("unlink", "unlinkat", "rename", "renameat", "renameat2", "rmdir", "syncfs")

EVERY = 80
"""In the ordinary run a collection is killed at its first call of a kind, and at each 80th after it."""

COMES_BACK = 2
"""After every 2nd kill what was collected is added again."""


def test_undisturbed_collection_leaves_what_environments_show_and_nothing_else(collecting: Collecting, workspace: Path):
    store = collecting.copy(workspace / "store")
    assert collecting.play(store).code == 0
    check_is_synthetic(read_contents(store, "work"), "demo", "3.0")
    check_is_synthetic(read_contents(store, "plain"), "other", "1.0")
    assert sorted(path.name for path in (store / "environments").iterdir()) == sorted(KEPT)
    assert len(list((store / "wheels").iterdir())) == 2
    assert not list((store / "bytecode").glob("*.opt-2/*/*/*")), "what was compiled for it goes with a distribution"
    collecting.check_interrupted(store, collecting.play(store))
    collecting.check_comes_back(store)


def kill_at_steps(collecting: Collecting, directory: Path, step: int) -> int:
    """How many collections were killed: one at each so many steps of removing."""
    with ThreadPoolExecutor(2) as two:
        return sum(two.map(lambda kind: _kill_at_all(collecting, directory, kind, step), REMOVING))


def _kill_at_all(collecting: Collecting, directory: Path, kind: str, step: int) -> int:
    for number in itertools.count():
        store = collecting.copy(directory / f"{kind}-{number}")
        done = kill(collecting, store, kind, 1 + number * step)
        collecting.check_interrupted(store, done)
        if number % COMES_BACK == 0:
            collecting.check_comes_back(store)
        shutil.rmtree(store)
        if not done.was_killed:
            assert done.code == 0, done.errors
            return number
    raise AssertionError


def test_collection_killed_at_any_step_loses_nothing_and_can_be_ended(collecting: Collecting, workspace: Path):
    assert kill_at_steps(collecting, workspace, EVERY) >= 4


@pytest.mark.long
def test_collection_killed_at_every_step_loses_nothing_and_can_be_ended(collecting: Collecting, workspace: Path):
    assert kill_at_steps(collecting, workspace, 1) >= 150

"""kill -9 of `casfs add` at each step of publishing."""

from __future__ import annotations

import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.scene import Scene, check_is_synthetic
from tests.faults.strace import kill
from tests.make_wheels import make_wheel

STEPS = ("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "syncfs", "mkdir", "fchmod", "unlink", "unlinkat", "rmdir")

BIG = 34 << 20  # more than is inflated in memory


def test_undisturbed_add_brings_the_bytes_of_the_wheels(upgrade: Scene):
    check_is_synthetic(upgrade.old, "demo", "1.0")
    check_is_synthetic(upgrade.new, "demo", "2.0")
    check_is_synthetic(upgrade.new, "other", "1.0")
    assert len(upgrade.new) == 2


class Killer:
    """Kills adds at every call of some kinds, and checks what each leaves behind."""

    def __init__(self, scene: Scene, directory: Path) -> None:
        self._scene = scene
        self._directory = directory

    def kill_at_all(self, kind: str, start: int = 1, step: int = 1) -> int:
        """How many adds were killed: one at each call of a kind."""
        for count in itertools.count(start, step):
            store = self._scene.copy(self._directory / f"{kind}-{count}")
            done = kill(self._scene, store, kind, count)
            if not done.was_killed:
                assert done.code == 0, done.errors
                return (count - start) // step
            self._scene.check_interrupted(store, done)
            shutil.rmtree(store)
        raise AssertionError


def test_add_killed_at_any_step_leaves_the_old_or_the_new_state(upgrade: Scene, workspace: Path):
    killer = Killer(upgrade, workspace)
    with ThreadPoolExecutor(2) as two:
        kills = sum(two.map(killer.kill_at_all, STEPS))
    print("kills", kills)
    assert kills >= 100

"""kill -9 of `casfs add` at each step of publishing."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.commands import VARIABLES, Done, command_line, read_contents
from tests.faults.prepared import Prepared
from tests.faults.scene import Scene, check_is_synthetic, make_scene
from tests.faults.strace import kill
from tests.make_wheels import make_wheel

PUBLISHING = ("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "syncfs", "unlink", "unlinkat", "rmdir")
STAGING = ("mkdir", "fchmod")

LARGE = 34 << 20  # more than is inflated in memory as a whole


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
            was_worker_killed = "a process that worked on it was ended by signal 9" in done.errors
            if not done.was_killed and not was_worker_killed:
                assert done.code == 0, done.errors
                return (count - start) // step
            self._scene.check_interrupted(store, done)
            shutil.rmtree(store)
        raise AssertionError


def kill_at_steps(scene: Scene, directory: Path, publishing: int, staging: int) -> int:
    """How many adds were killed: one at each so many steps of publishing, and of staging."""
    killer = Killer(scene, directory)
    kinds = [(kind, 1, publishing) for kind in PUBLISHING] + [(kind, 1, staging) for kind in STAGING]
    with ThreadPoolExecutor(2) as two:
        return sum(two.map(lambda kind: killer.kill_at_all(*kind), kinds))


def test_add_killed_while_it_publishes_leaves_the_old_or_the_new_state(upgrade: Scene, workspace: Path):
    assert kill_at_steps(upgrade, workspace, publishing=2, staging=6) >= 80


def test_first_add_killed_while_it_publishes_can_be_repeated(first: Scene, workspace: Path):
    assert kill_at_steps(first, workspace, publishing=8, staging=10) >= 12


@pytest.mark.long
def test_add_killed_at_any_step_leaves_the_old_or_the_new_state(upgrade: Scene, workspace: Path):
    assert kill_at_steps(upgrade, workspace, publishing=1, staging=1) >= 120


@pytest.mark.long
def test_first_add_killed_at_any_step_can_be_repeated(first: Scene, workspace: Path):
    assert kill_at_steps(first, workspace, publishing=1, staging=1) >= 60


def test_add_killed_while_it_streams_a_large_file_leaves_nothing_of_it(prepared: Prepared, workspace: Path):
    large = make_wheel({"demo/large.bin": bytes(LARGE), "demo/half.bin": bytes(LARGE // 2), "demo/small.py": b"VALUE = 1\n"})
    killer = Killer(make_scene(prepared, workspace / "scene", [large]), workspace)
    steps = [("write", 5, 20), ("fchmod", 2, 6), ("rename", 2, 16), ("syncfs", 3, 8)]
    with ThreadPoolExecutor(2) as two:
        kills = sum(two.map(lambda step: killer.kill_at_all(*step), steps))
    assert kills >= 10


@pytest.mark.parametrize(("kind", "count"), [("rename", 1), ("rename", 20), ("syncfs", 2), ("symlink", 1), ("link", 3)])
def test_real_command_that_is_killed_leaves_the_old_or_the_new_state(upgrade: Scene, workspace: Path, kind: str, count: int):
    store = upgrade.copy(workspace / "store")
    strace = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={kind}", "-e", f"inject={kind}:signal=KILL:when={count}"]
    command = [*strace, *command_line(store, "add", *upgrade.wheels)]
    done = subprocess.run(command, env=VARIABLES, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    upgrade.check_interrupted(store, Done(done.returncode, done.stdout, done.stderr))


def test_rollback_after_a_killed_add_undoes_the_add_that_completed(upgrade: Scene, workspace: Path):
    store = upgrade.copy(workspace / "store")
    assert kill(upgrade, store, "symlink", 1).was_killed, "the new generation is there, but it is not current"
    upgrade.check_next_add(store)
    assert upgrade.prepared.run(store, "rollback").code == 0
    assert read_contents(store) == upgrade.old

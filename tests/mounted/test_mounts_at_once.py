"""mount, umount and env remove of one environment, all at once: each comes before or after the other, and says what it found then."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from casfs.mounts.mountpoints import locked_mounts
from casfs.mounts.removal import _is_used, remove_environment
from casfs.overlay import kernel
from casfs.store.environments import Environment
from casfs.store.store import open_store
from tests.mounted.harness import TIME_LIMIT_S, Casfs, iter_mountpoints, site_packages

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has one daemon for many mounts")

_LOOK_EVERY_S = 0.01


class Waiting:
    """Commands that have come as far as to wait for the lock of the places."""

    def __init__(self, casfs: Casfs) -> None:
        self._casfs = casfs
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *words: str | Path) -> None:
        """Start a command, and return when it waits."""
        command = self._casfs.command(*words)
        self._started.append(
            subprocess.Popen(command, env=self._casfs.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        )
        until = time.monotonic() + TIME_LIMIT_S
        while self._count() < len(self._started):
            assert self._started[-1].poll() is None, "it has ended and not waited"
            assert time.monotonic() < until
            time.sleep(_LOOK_EVERY_S)

    def _count(self) -> int:
        """How many wait (proc_locks(5))."""
        inode = f":{os.stat(self._casfs.store / 'locks/mounts').st_ino} "
        return sum("-> FLOCK" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())

    def end(self) -> list[tuple[int, str]]:
        """(exit code, errors) of each, when all have ended."""
        done = [(one, one.communicate(timeout=TIME_LIMIT_S)[1]) for one in self._started]
        return [(one.returncode, errors) for one, errors in done]


@pytest.fixture
def waiting(casfs: Casfs) -> Waiting:
    return Waiting(casfs)


@contextlib.contextmanager
def held(casfs: Casfs) -> Iterator[None]:
    with locked_mounts(open_store(casfs.store)):
        yield


def without_waiting(errors: str) -> list[str]:
    """What a command said but that it waits."""
    return [line for line in errors.splitlines() if not line.startswith("waiting for other commands")]


@as_root
def test_who_mounts_what_another_command_has_mounted_just_now_is_told_so(casfs: Casfs, waiting: Waiting, tmp_path: Path) -> None:
    path = tmp_path / "venv"
    with held(casfs):
        for _ in range(2):
            waiting.start("mount", path)
    done = waiting.end()
    assert [code for code, _ in done] == [0, 0]
    told = [f"{path} already shows environment 'default'" in without_waiting(errors) for _, errors in done]
    assert sorted(told) == [False, True]
    assert [one for one in iter_mountpoints(tmp_path) if one == path] == [path]


@as_root
def test_an_environment_that_is_removed_while_somebody_is_about_to_mount_it_is_made_anew(
    casfs: Casfs, waiting: Waiting, tmp_path: Path
) -> None:
    casfs.add(casfs.wheel("demo"))
    with held(casfs):
        waiting.start("mount", tmp_path / "venv")
        shutil.rmtree(casfs.store / "environments/default")  # as `env remove` does, which has the places locked
    [(code, errors)] = waiting.end()
    assert code == 0, errors
    assert "made environment 'default'" in errors
    assert not (site_packages(tmp_path / "venv") / "demo").exists()


@as_root
def test_of_two_that_unmount_one_path_the_second_finds_no_mount(casfs: Casfs, waiting: Waiting) -> None:
    path = casfs.mount(data_path="")
    with held(casfs):
        for _ in range(2):
            waiting.start("umount", path)
    done = sorted((code, without_waiting(errors)) for code, errors in waiting.end())
    assert done == [(0, []), (1, [f"casfs: {path}: is not a mount of casfs"])]


@as_root
def test_an_environment_is_removed_when_the_kernel_has_let_go_of_a_mount_that_has_ended(
    casfs: Casfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so a moment after `umount` if some process was just leaving, for which a descriptor of the mount stands."""
    path = casfs.mount(data_path="kernel")
    left = kernel.clone_mount(str(path))
    casfs.umount(path, "--lazy")
    looks: list[bool] = []

    def look_and_leave(environment: Environment) -> bool:
        is_used = _is_used(environment)
        if not looks:
            os.close(left)
        looks.append(is_used)
        return is_used

    monkeypatch.setattr("casfs.mounts.removal._is_used", look_and_leave)
    environment = Environment(open_store(casfs.store), "default")
    remove_environment(environment)
    assert looks[0]
    assert not looks[-1]
    assert not os.path.lexists(environment.directory)

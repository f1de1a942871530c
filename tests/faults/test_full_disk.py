"""A disk that fills up during `casfs add`: of its bytes, and of its inodes."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.collecting import Collecting
from tests.faults.commands import check_clean, check_names_a_file, check_refusal, read_contents, snapshot
from tests.faults.scene import Scene

_PAGE = 4096

MADE_OF_CONTENT = ("blobs/", "manifests/", "wheels/", "numbers/", "interpreters/", "stamps/", "bytecode/")
"""What an add that failed may leave there is whole and durable, and refers to nothing that is not there."""


class SmallDisk:
    """A tmpfs whose size can be set."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, limits: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{limits}", self.path], check=True)

    def leave(self, *, pages: int | None = None, inodes: int | None = None) -> None:
        """Leave only so much."""
        found = os.statvfs(self.path)
        if pages is not None:
            self.resize(f"size={(found.f_blocks - found.f_bfree) * found.f_frsize + pages * _PAGE}")
        if inodes is not None:
            self.resize(f"nr_inodes={found.f_files - found.f_ffree + inodes}")

    def enlarge(self) -> None:
        self.resize("size=64m,nr_inodes=10000")


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[SmallDisk]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=10000", "tmpfs", path], check=True)
    try:
        yield SmallDisk(path)
        subprocess.run(["umount", path], check=True)  # nobody may hold it
    except BaseException:
        subprocess.run(["umount", "--lazy", path], check=True)
        raise


def add_to_full_disk(scene: Scene, disk: SmallDisk, limit: dict[str, int]) -> bool:
    """Whether there was room for the add. If not, the store must be as before, and good for an add when there is room."""
    store = disk.path / "store"
    if scene.old:
        scene.copy(store)
    before = snapshot(store)
    disk.leave(**limit)
    done = scene.add(store)
    if done.code:
        check_refusal(done)
        check_names_a_file(done)
        assert "no space left on device" in done.errors or "and the disk of the store has only" in done.errors
        if scene.old:
            check_is_as_before(scene, store, before)
    disk.enlarge()
    scene.check_next_add(store)
    check_clean(store, scene.prepared.run)
    return not done.code


def check_is_as_before(scene: Scene, store: Path, before: dict[str, str]) -> None:
    after = snapshot(store)
    assert {name: after.get(name) for name in before} == before
    new = [name for name in after.keys() - before.keys() if not name.startswith(MADE_OF_CONTENT)]
    assert [name for name in new if not name.endswith(".unfinished")] == []
    assert read_contents(store) == scene.old
    check_clean(store, scene.prepared.run)


def count_failures(scene: Scene, directory: Path, what: str, step: int) -> int:
    """How many limits were too tight: from next to no room, in steps, up to the first that is enough."""
    for number in itertools.count(1):
        with small_disk(directory / f"{what}-{number}") as disk:
            if add_to_full_disk(scene, disk, {what: number * step}):
                return number - 1
    raise AssertionError


def test_add_to_a_disk_without_room_leaves_the_store_as_before(upgrade: Scene, workspace: Path):
    assert count_failures(upgrade, workspace, "pages", 4) > 5


def test_add_to_a_disk_without_inodes_leaves_the_store_as_before(upgrade: Scene, workspace: Path):
    assert count_failures(upgrade, workspace, "inodes", 6) > 5


def test_first_add_to_a_disk_without_room_can_be_repeated(first: Scene, workspace: Path):
    assert count_failures(first, workspace, "pages", 9) > 3


def test_first_add_to_a_disk_without_inodes_can_be_repeated(first: Scene, workspace: Path):
    assert count_failures(first, workspace, "inodes", 12) > 3


@pytest.mark.parametrize(("what", "step"), [("pages", 4), ("inodes", 6)])
def test_export_to_a_disk_without_room_leaves_nothing(upgrade: Scene, workspace: Path, what: str, step: int):
    upgrade.copy(workspace / "store")
    refused = 0
    with small_disk(workspace / "disk") as disk:
        while True:
            disk.leave(**{what: 1 + refused * step})
            done = upgrade.prepared.run(workspace / "store", "export", disk.path / "plain")
            if not done.code:
                break
            check_refusal(done)
            check_names_a_file(done)
            assert "no space left on device" in done.errors or "and the disk of the store has only" in done.errors
            assert os.listdir(disk.path) == []
            refused += 1
        assert (disk.path / "plain/pyvenv.cfg").is_file()
    assert refused > 1


@pytest.mark.parametrize("what", ["pages", "inodes"])
def test_collection_makes_room_on_a_disk_that_has_none(collecting: Collecting, workspace: Path, what: str):
    with small_disk(workspace / "disk") as disk:
        store = collecting.copy(disk.path / "store")
        disk.leave(**{what: 0})
        done = collecting.play(store)
        disk.enlarge()
        collecting.check_interrupted(store, done)
        assert done.code == 0, done.errors


@pytest.mark.long
@pytest.mark.parametrize("what", ["pages", "inodes"])
def test_add_at_every_size_of_a_disk(upgrade: Scene, first: Scene, workspace: Path, what: str):
    assert count_failures(upgrade, workspace / "upgrade", what, 1) > 20
    assert count_failures(first, workspace / "first", what, 1) > 20

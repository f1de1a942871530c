"""A mount for which the store's disk has no room is not there, and leaves nothing behind."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from casfs.daemon.daemon import start_daemon
from casfs.mounts.scrubber import ScrubberProcess
from casfs.store.store import open_store
from tests.faults.test_full_disk import SmallDisk
from tests.mounted.harness import Casfs, site_packages


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=10000", "tmpfs", path], check=True)
    yield SmallDisk(path)
    subprocess.run(["umount", "--lazy", path], check=True)  # a worker may still be ending


@pytest.mark.parametrize("what", ["pages", "inodes"])
@pytest.mark.parametrize("data_path", ["", "fuse"])
def test_mount_that_fails_for_want_of_room_is_not_there(tmp_path: Path, template: Path, disk: SmallDisk, what: str, data_path: str) -> None:
    """With no room at all, with room for the first file that a mount writes, and so on until there is enough."""
    with Casfs(disk.path, template) as casfs:
        casfs.add(casfs.wheel("demo"))
        mountpoint = tmp_path / "venv"
        words: list[str | Path] = ["mount", *(["--data-path", data_path] if data_path else []), mountpoint]
        for room in itertools.count():
            disk.leave(**{what: room})
            done = casfs.run(*words, code=None)
            disk.enlarge()
            if not done.returncode:
                break
            assert not os.path.ismount(mountpoint)
            assert casfs.status() == []
            assert {path.name for path in (casfs.store / "run").iterdir()} <= {"dead.log"}
        assert room
        assert (site_packages(mountpoint) / "demo").is_dir()
        casfs.run("umount", "--all")
        assert not os.path.ismount(mountpoint)


def test_daemon_that_can_not_start_leaves_no_directory(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", create=True)
    mountpoint = tmp_path / "private"
    mountpoint.mkdir()
    os.rename(store.run_path(), store.path("elsewhere"))
    with pytest.raises(FileNotFoundError):
        start_daemon(store, "", str(mountpoint), print, print, start_scrubber=ScrubberProcess)
    assert not mountpoint.exists()

"""The kernel's own answers to what only casfs asks: as root, on real mounts that never become visible."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from casfs.overlay.kernel import clone_mount, clone_owned


@contextmanager
def look_into(mount_fd: int) -> Iterator[str]:
    try:
        yield f"/proc/self/fd/{mount_fd}"
    finally:
        os.close(mount_fd)


def owner(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_uid, found.st_gid


@pytest.mark.parametrize("ids", [(1001, 1002), (0, 1002), (0, 0)])
def test_what_is_roots_shows_as_the_owners(tmp_path: Path, ids: tuple[int, int]):
    (tmp_path / "file").write_text("root's")
    with look_into(clone_owned(str(tmp_path), *ids)) as shown:
        assert owner(shown) == owner(f"{shown}/file") == ids
    with look_into(clone_mount(str(tmp_path))) as shown:
        assert owner(f"{shown}/file") == (0, 0)


def test_owners_share_no_clone(tmp_path: Path):
    for ids in ((1001, 1001), (1002, 1002), (1001, 1001)):
        with look_into(clone_owned(str(tmp_path), *ids)) as shown:
            assert owner(shown) == ids


def test_no_child_and_no_descriptor_is_left(tmp_path: Path):
    os.close(clone_owned(str(tmp_path), 1003, 1003))
    before, children = set(os.listdir("/proc/self/fd")), children_of_this_process()
    for _ in range(3):
        os.close(clone_owned(str(tmp_path), 1003, 1003))
    with pytest.raises(FileNotFoundError):
        clone_owned(str(tmp_path / "absent"), 1003, 1003)
    with pytest.raises(OSError, match="Invalid argument") as caught:
        clone_owned("/proc", 1003, 1003)  # a file system that can't be mapped
    assert caught.value.errno == errno.EINVAL
    assert set(os.listdir("/proc/self/fd")) == before
    assert children_of_this_process() <= children


def children_of_this_process() -> set[str]:
    """Of its main thread, which makes them all (proc_pid_task(5)); zombies are among them."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())

"""Cloning: shared where the file system can, copied where it can't, and an error where the disk has had enough."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from casfs.changes.export import clone_file

CONTENT = os.urandom(3 << 20)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[int, int]]:
    (tmp_path / "source").write_bytes(CONTENT)
    source = os.open(tmp_path / "source", os.O_RDONLY)
    target = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    yield source, target
    os.close(source)
    os.close(target)


def read(fd: int) -> bytes:
    return os.pread(fd, len(CONTENT) + 1, 0)


def fail_with(number: int) -> object:
    def fail(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


def test_whatever_the_file_system_can_the_bytes_are_the_same(files: tuple[int, int]):
    clone_file(*files, len(CONTENT))
    assert read(files[1]) == CONTENT


def test_it_says_whether_the_blocks_are_shared(files: tuple[int, int], monkeypatch: pytest.MonkeyPatch):
    def share(target: int, request: int, source: int) -> int:
        assert request == 0x40049409
        return os.write(target, read(source))

    monkeypatch.setattr(fcntl, "ioctl", share)
    assert clone_file(*files, len(CONTENT))
    monkeypatch.setattr(fcntl, "ioctl", fail_with(errno.EOPNOTSUPP))
    os.ftruncate(files[1], 0)
    assert not clone_file(*files, len(CONTENT))
    assert read(files[1]) == CONTENT


@pytest.mark.parametrize("number", [errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM])
def test_a_kernel_that_can_copy_nothing_by_itself(files: tuple[int, int], monkeypatch: pytest.MonkeyPatch, number: int):
    monkeypatch.setattr(fcntl, "ioctl", fail_with(number))
    monkeypatch.setattr(os, "copy_file_range", fail_with(number))
    assert not clone_file(*files, len(CONTENT))
    assert read(files[1]) == CONTENT


def test_a_kernel_that_stops_halfway(files: tuple[int, int], monkeypatch: pytest.MonkeyPatch):
    def copy(source: int, target: int, count: int, offset: int, to: int) -> int:
        if offset:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return os.pwrite(target, os.pread(source, 1000, offset), to)

    monkeypatch.setattr(fcntl, "ioctl", fail_with(errno.EXDEV))
    monkeypatch.setattr(os, "copy_file_range", copy)
    clone_file(*files, len(CONTENT))
    assert read(files[1]) == CONTENT


@pytest.mark.parametrize("call", ["ioctl", "copy_file_range"])
def test_a_full_disk_is_an_error(files: tuple[int, int], monkeypatch: pytest.MonkeyPatch, call: str):
    monkeypatch.setattr(fcntl, "ioctl", fail_with(errno.ENOSPC if call == "ioctl" else errno.EXDEV))
    monkeypatch.setattr(os, "copy_file_range", fail_with(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        clone_file(*files, len(CONTENT))

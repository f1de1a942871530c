"""Disks of their own: loop-mounted file systems whose power can be cut, so that what they hold in memory is never written."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

FILE_SYSTEMS = ("ext4", "xfs", "btrfs")

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN (linux/fs/ext4/ext4.h, linux/fs/xfs/libxfs/xfs_fs.h)
_WITHOUT_FLUSHING_THE_LOG = struct.pack("I", 2)

_GET_STATUS, _SET_STATUS = 0x4C05, 0x4C04  # LOOP_GET_STATUS64, LOOP_SET_STATUS64 (linux/loop.h)
_SIZE_LIMIT = slice(32, 40)  # lo_sizelimit of struct loop_info64
_STATUS_SIZE = 232


class CutDisk:
    """A mounted file system in a file."""

    def __init__(self, image: Path, path: Path, file_system: str) -> None:
        self.path = path
        self._image = image
        self._file_system = file_system

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self._image, self.path], check=True)

    def cut(self) -> None:
        """What is not on the disk now is lost; until it is mounted again every call fails that needs the disk."""
        if self._file_system == "btrfs":
            self._shrink_device()
            return
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, _WITHOUT_FLUSHING_THE_LOG)
        finally:
            os.close(fd)

    def _shrink_device(self) -> None:
        """Let the disk end after its first sector, for a file system that can't be shut down: nothing reaches the image any more."""
        device = subprocess.check_output(["losetup", "--noheadings", "--output", "NAME", "--associated", self._image], text=True).strip()
        fd = os.open(device, os.O_RDWR)
        try:
            status = bytearray(_STATUS_SIZE)
            fcntl.ioctl(fd, _GET_STATUS, status)
            status[_SIZE_LIMIT] = struct.pack("Q", 512)
            fcntl.ioctl(fd, _SET_STATUS, status)
        finally:
            os.close(fd)

    def mount_again(self) -> None:
        """The power is back: the file system recovers from its log."""
        self.unmount()
        self.mount()

    def unmount(self) -> None:
        """It is gone when nobody has it any more: what a killed process had started ends a moment after it, and a mount namespace that
        was made meanwhile keeps a copy of the mount for as long as it lives. Who mounts the image before that gets the dead disk again.
        """
        _wait_until(lambda: not subprocess.run(["umount", self.path], check=False).returncode)
        _wait_until(lambda: not subprocess.check_output(["losetup", "--associated", self._image]))


def _wait_until(is_true: Callable[[], bool]) -> None:
    """What does not happen within a minute does not happen."""
    tick = threading.Event()
    assert any(is_true() or tick.wait(0.05) for _ in range(1200))


@contextlib.contextmanager
def cut_disk(directory: Path, file_system: str = "ext4") -> Iterator[CutDisk]:
    """An empty file system. Unmounting it frees its loop device."""
    image, path = directory / "image", directory / "disk"
    path.mkdir()
    with image.open("wb") as file:
        file.truncate(320 << 20)
    subprocess.run([f"mkfs.{file_system}", "-q", image], stdout=subprocess.DEVNULL, check=True)
    disk = CutDisk(image, path, file_system)
    disk.mount()
    try:
        yield disk
        disk.unmount()
    except BaseException:
        subprocess.run(["umount", "--lazy", path], check=False)
        raise

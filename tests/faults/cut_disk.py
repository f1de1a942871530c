"""A disk whose power can be cut: a loop-mounted file system that is shut down without writing what it holds in memory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN (linux/fs/ext4/ext4.h, linux/fs/xfs/libxfs/xfs_fs.h)
_WITHOUT_FLUSHING_THE_LOG = struct.pack("I", 2)


class CutDisk:
    """A mounted file system in a file."""

    def __init__(self, image: Path, path: Path) -> None:
        self.path = path
        self._image = image

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self._image, self.path], check=True)

    def cut(self) -> None:
        """What is not on the disk now is lost; until it is mounted again every call fails."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, _WITHOUT_FLUSHING_THE_LOG)
        finally:
            os.close(fd)

    def mount_again(self) -> None:
        """The power is back: the file system recovers from its log."""
        self.unmount()
        self.mount()

    def unmount(self) -> None:
        """What a process that was killed had started, such as a compiler, ends a moment after it."""
        tick = threading.Event()
        command: list[str | Path] = ["umount", self.path]
        assert any(not subprocess.run(command, check=False).returncode or tick.wait(0.05) for _ in range(200))


@contextlib.contextmanager
def cut_disk(directory: Path, make: str = "mkfs.ext4") -> Iterator[CutDisk]:
    """An empty file system. Unmounting it frees its loop device."""
    image, path = directory / "image", directory / "disk"
    path.mkdir()
    with image.open("wb") as file:
        file.truncate(320 << 20)
    subprocess.run([make, "-q", image], check=True)
    disk = CutDisk(image, path)
    disk.mount()
    try:
        yield disk
        disk.unmount()
    except BaseException:
        subprocess.run(["umount", "--lazy", path], check=False)
        raise

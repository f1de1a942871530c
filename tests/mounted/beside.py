"""One set of calls made twice: in a mount, and in a plain overlayfs over plain directories that hold the same. Both must end alike."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from casfs.overlay import kernel

Result = str | int | list[str]


class PlainOverlay:
    """An overlayfs that the kernel makes of plain directories, as casfs asks for its own: with `userxattr`, and writable."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "plain"
        self.upper = directory / "upper"
        self._directory = directory
        self._count = 0
        for path in (self.path, self.upper):
            path.mkdir()

    def show(self, lower: Path) -> None:
        """Show a directory below what was written."""
        self.hide()
        work = self._directory / f"work{self._count}"
        self._count += 1
        work.mkdir()
        layers = [("lowerdir+", str(lower)), ("upperdir", str(self.upper)), ("workdir", str(work))]
        fd = kernel.make_mount("overlay", [("source", "plain"), ("userxattr", None), *layers])
        try:
            kernel.attach_mount(fd, str(self.path))
        finally:
            os.close(fd)

    def hide(self) -> None:
        if os.path.ismount(self.path):
            kernel.unmount(str(self.path), is_lazy=True)

    def take_over(self, files: Path, lower: Path) -> None:
        """Forget what was written, and begin with a copy of an upper layer."""
        self.hide()
        subprocess.run(["rm", "-rf", str(self.upper)], check=True)
        subprocess.run(["cp", "-a", str(files), str(self.upper)], check=True)
        self.show(lower)


def outcome(call: Callable[[], Result | None]) -> Result:
    """What a call ends with: the name of its error, or what it answers."""
    try:
        return call() or ""
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def write(path: str, flags: int, content: bytes) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)


def write_mapped(path: str, content: bytes) -> None:
    """Write the first bytes of a file through a shared mapping, and read them by another descriptor."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode) or not (size := min(len(content), os.fstat(fd).st_size)):
            return
        with mmap.mmap(fd, 0) as mapped:
            mapped[:size] = content[:size]
            with open(path, "rb") as file:
                assert file.read(size) == content[:size]
            mapped.flush()
    finally:
        os.close(fd)


def set_time(path: str, seconds: int) -> int:
    """Set a file's time, and read it."""
    os.utime(path, (seconds, seconds))
    return int(os.stat(path).st_mtime)


def list_names(path: str) -> list[str]:
    """The names in a directory, each with its kind."""
    with os.scandir(path) as entries:
        return sorted(f"{entry.name} {stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode):o}" for entry in entries)


def read_attributes(path: str) -> list[str]:
    names = [name for name in os.listxattr(path, follow_symlinks=False) if not name.startswith("user.casfs.")]
    return sorted(f"{name}={os.getxattr(path, name, follow_symlinks=False)!r}" for name in names)


def iter_facts(top: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    """(path, what is seen of it) for all below a directory. The links of a directory, and its size and time, are the disk's own affair."""
    for parent, directories, files in os.walk(top):
        for name in [*directories, *files]:
            path = os.path.join(parent, name)
            found = os.lstat(path)
            content: object = None
            if stat.S_ISLNK(found.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(found.st_mode):
                content = (found.st_nlink, found.st_size, Path(path).read_bytes())
            yield os.path.relpath(path, top), (oct(found.st_mode), found.st_uid, content, *read_attributes(path))

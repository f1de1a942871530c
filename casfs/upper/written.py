"""What was written into an upper directory of overlayfs, as values.

Whoever writes into a mount decides what lies there, and root may be who reads it: so nothing is opened but below a descriptor of the upper
directory, component by component, without following a symbolic link, and what is no regular file is never opened at all. A deletion is a
character device 0/0 (a *whiteout*); an *opaque* directory hides what the lower layers have in it (kernel documentation, overlayfs).
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType

from casfs.descriptors import closing_fd
from casfs.errors import EnvironmentRefused
from casfs.store.regular_file import OPEN_FLAGS

MAX_DEPTH = 128
"""Directories in each other; wheels have up to about 30. Bounds the descriptors that are open at once."""

MAX_ENTRIES = 1_000_000
"""As many as 30 large environments together have. Bounds memory."""

_OPAQUE = ("user.overlay.opaque", "trusted.overlay.opaque")

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UpperEntryKind(enum.Enum):
    """What an entry of an upper directory is."""

    FILE = "a regular file"
    DIRECTORY = "a directory"
    SYMLINK = "a symbolic link"
    WHITEOUT = "deleted"
    OTHER = "a FIFO, a socket or a device"


@dataclass(frozen=True, slots=True)
class UpperEntry:
    """One entry of an upper directory."""

    path: str  # as the mount shows it; what is not UTF-8 in it is escaped (PEP 383)
    kind: UpperEntryKind
    mode: int
    owner: int
    size: int
    links: int = 1
    is_opaque: bool = False

    @property
    def is_executable(self) -> bool:
        """Whether anybody may execute it, which is what installers look at."""
        return bool(self.mode & 0o111)


_LOCK = ".lock"
"""uv makes this file before it changes an environment, and leaves it there. While it is empty it says nothing, and counts as not there."""


class UpperDirectory:
    """All entries of an upper directory, by path, and the way to open them. A context manager."""

    def __init__(self, directory: str) -> None:
        """Raises EnvironmentRefused for more entries than anyone can mean, OSError."""
        self.directory = directory
        self._fd = os.open(directory, OPEN_DIRECTORY)
        try:
            self.entries: Mapping[str, UpperEntry] = dict(self._iter_entries())
            self.names: dict[str, list[str]] = {}  # of each directory, what was written into it
            for path in self.entries:
                parent, _, name = path.rpartition("/")
                self.names.setdefault(parent, []).append(name)
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> UpperDirectory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._fd)

    def _iter_entries(self) -> Iterator[tuple[str, UpperEntry]]:
        for count, entry in enumerate(self._walk(self._fd, "", 1)):
            if count >= MAX_ENTRIES:
                raise EnvironmentRefused(self.directory, f"holds more than {MAX_ENTRIES} files")
            if entry.path != _LOCK or entry.size or entry.kind is not UpperEntryKind.FILE:
                yield entry.path, entry

    def _walk(self, fd: int, prefix: str, depth: int) -> Iterator[UpperEntry]:
        """Everything below a directory, parents before children."""
        if depth > MAX_DEPTH:
            raise EnvironmentRefused(self.directory, f"has more than {MAX_DEPTH} directories in each other")
        for name in sorted(os.listdir(fd)):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # a tool is at work, and this is gone already
                status = os.lstat(name, dir_fd=fd)
                if not stat.S_ISDIR(status.st_mode):
                    yield _build_entry(prefix + name, status)
                    continue
                with closing_fd(self._open_child(name, fd, prefix)) as child:
                    yield _build_entry(prefix + name, status, is_opaque=_is_opaque(child))
                    yield from self._walk(child, f"{prefix}{name}/", depth + 1)

    def _open_child(self, name: str, fd: int, prefix: str) -> int:
        try:
            return os.open(name, OPEN_DIRECTORY, dir_fd=fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"{self.directory}/{prefix}{name}") from None

    def parent_of(self, path: str) -> contextlib.AbstractContextManager[tuple[int, str]]:
        """A descriptor of the directory that holds an entry, and its name there. Raises OSError."""
        return parent_below(self._fd, path)

    def has_attributes(self, path: str) -> bool:
        """Whether somebody gave an entry extended attributes; overlayfs keeps its own there, and theirs of such a name twice prefixed."""
        with self.parent_of(path) as (parent, name):
            names = os.listxattr(f"/proc/self/fd/{parent}/{name}", follow_symlinks=False)
        return any(name.startswith("user.") and not re.match(r"user\.overlay\.(?!overlay\.)", name) for name in names)

    def read_link(self, path: str) -> bytes | None:
        """Where a symbolic link says that it leads; None if it is none any more."""
        with contextlib.suppress(OSError), self.parent_of(path) as (parent, name):
            return os.readlink(os.fsencode(name), dir_fd=parent)
        return None

    def open_file(self, path: str) -> int:
        """A descriptor, open for reading, of a regular file. The caller closes it. Raises OSError for all else."""
        with self.parent_of(path) as (parent, name):
            if not stat.S_ISREG(os.lstat(name, dir_fd=parent).st_mode):  # opening a device may do something
                raise FileNotFoundError(2, "is not a regular file", path)
            fd = os.open(name, OPEN_FLAGS, dir_fd=parent)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise FileNotFoundError(2, "is not a regular file", path)
        return fd


@contextlib.contextmanager
def parent_below(root: int, path: str) -> Iterator[tuple[int, str]]:
    """A descriptor of the directory that holds `path` below `root`, and the last name; no symbolic link is followed. Raises OSError."""
    *parents, name = path.split("/")
    fd = os.dup(root)
    try:
        for parent in parents:
            below = os.open(parent, OPEN_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd, name
    finally:
        os.close(fd)


def _build_entry(path: str, status: os.stat_result, *, is_opaque: bool = False) -> UpperEntry:
    return UpperEntry(path, _kind(status), stat.S_IMODE(status.st_mode), status.st_uid, status.st_size, status.st_nlink, is_opaque)


def _kind(status: os.stat_result) -> UpperEntryKind:
    if stat.S_ISREG(status.st_mode):
        return UpperEntryKind.FILE
    if stat.S_ISDIR(status.st_mode):
        return UpperEntryKind.DIRECTORY
    if stat.S_ISLNK(status.st_mode):
        return UpperEntryKind.SYMLINK
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        return UpperEntryKind.WHITEOUT
    return UpperEntryKind.OTHER


def _is_opaque(fd: int) -> bool:
    for name in _OPAQUE:
        with contextlib.suppress(OSError):
            if os.getxattr(fd, name) == b"y":
                return True
    return False

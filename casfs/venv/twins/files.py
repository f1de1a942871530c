"""Twins on a disk: directories of files that have a size, a time and no bytes, but say which blob has them (overlayfs.rst, "metacopy").

A twin's own directory carries its name as an attribute. A copy that was made without attributes, as most are, has all sizes and no bytes:
it lacks that mark, and nobody takes it for a twin.

Each file costs an inode and, where inodes have 256 bytes, a block of 4 KB for the attributes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable

from casfs.errors import InvalidValue
from casfs.store.manifests import Kind
from casfs.venv.tree import FileNode
from casfs.venv.twins.plan import TwinDirectory

MARK = "trusted.casfs.twin"
_MARK_SIZE = 56  # the end of the name; ext4 keeps no more within an inode of 256 bytes, where it is read without another block
METACOPY, REDIRECT = "trusted.overlay.metacopy", "trusted.overlay.redirect"

FILE_MODES = {Kind.FILE: 0o644, Kind.EXECUTABLE: 0o755}
DIRECTORY_MODE = 0o755

_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_NO_NAMES = ("", ".", "..")

ReadTarget = Callable[[FileNode], bytes]
"""Reads where a symbolic link points to."""


def format_redirect(node: FileNode) -> bytes:
    """The path of a file's blob below a pool."""
    return f"/{node.digest[:2]}/{node.digest[2:]}".encode()


def format_mark(path: str) -> bytes:
    """What a twin at that place says of itself."""
    return os.fsencode(path)[-_MARK_SIZE:]


def is_twin(path: str) -> bool:
    """Whether what lies at `path` was made there as a twin, has its attributes, and is still root's alone to change."""
    try:
        return os.lstat(path).st_uid == 0 and os.getxattr(path, MARK, follow_symlinks=False) == format_mark(path)
    except OSError:
        return False


def lay_out(directories: Iterable[TwinDirectory], target: str, mark: bytes, read_target: ReadTarget) -> None:
    """Make the twin `target`, all root's. Nothing is synced.

    Raises InvalidValue for a name that leads elsewhere: a shared pool may hold manifests that nobody here has checked.
    Raises OSError: EPERM or EOPNOTSUPP where nobody may set the attributes; ENAMETOOLONG, EFBIG and the like for what this disk can't show.
    """
    os.mkdir(target, DIRECTORY_MODE)
    is_masked = _is_masked(target)
    root = os.open(target, _DIRECTORY)
    made: list[tuple[str, int]] = []
    try:
        for one in directories:
            path = one.path or "."
            _fill_directory(root, path, one, read_target, is_masked)
            made.append((path, one.mtime_ns))
        os.setxattr(root, MARK, mark)
        for path, mtime_ns in made:
            os.utime(path, ns=(mtime_ns, mtime_ns), dir_fd=root)  # after all that changes it
    finally:
        os.close(root)


def _is_masked(path: str) -> bool:
    """Whether new files don't get the mode that they are made with. Raises OSError if they would not be root's."""
    found = os.stat(path)
    if found.st_uid or found.st_gid:
        raise PermissionError(errno.EPERM, "new files would not be root's", path)
    return stat.S_IMODE(found.st_mode) != DIRECTORY_MODE


def _fill_directory(root: int, path: str, directory: TwinDirectory, read_target: ReadTarget, is_masked: bool) -> None:
    parent = os.open(path, _DIRECTORY, dir_fd=root)
    try:
        if is_masked:
            os.fchmod(parent, DIRECTORY_MODE)
        for name in directory.directories:
            _require_name(name)
            os.mkdir(name, DIRECTORY_MODE, dir_fd=parent)
        for name, node in directory.files:
            _require_name(name)
            if node.kind is Kind.SYMLINK:
                _make_link(parent, name, node, read_target)
            else:
                _make_file(parent, name, node, is_masked)
    finally:
        os.close(parent)


def _require_name(name: str) -> None:
    if "/" in name or "\0" in name or name in _NO_NAMES:
        raise InvalidValue(repr(name), "is not the name of a file")


def _make_file(parent: int, name: str, node: FileNode, is_masked: bool) -> None:
    mode = FILE_MODES[node.kind]
    fd = os.open(name, _NEW_FILE, mode, dir_fd=parent)
    try:
        if is_masked:
            os.fchmod(fd, mode)
        os.setxattr(fd, REDIRECT, format_redirect(node))
        os.setxattr(fd, METACOPY, b"")
        os.ftruncate(fd, node.size)
        os.utime(fd, ns=(node.mtime_ns, node.mtime_ns))
    finally:
        os.close(fd)


def _make_link(parent: int, name: str, node: FileNode, read_target: ReadTarget) -> None:
    os.symlink(read_target(node), os.fsencode(name), dir_fd=parent)
    os.utime(name, ns=(node.mtime_ns, node.mtime_ns), dir_fd=parent, follow_symlinks=False)

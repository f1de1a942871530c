"""A directory that appears at its place whole, or not at all: it is filled beside, made durable and then renamed.

    .<name>.casfs-<token>       beside the place, locked (flock(2)) while whoever fills it lives; the next one removes what the dead left

The directory above may belong to somebody who means harm, and root may be who fills: such a one can rename what is beside and put anything
in its place at any time. So all of it is done below descriptors, component by component, and no symbolic link is followed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from casfs.descriptors import closing_fd
from casfs.errors import EnvironmentRefused
from casfs.store.following import made_directory
from casfs.store.publish import naming, sync_file_system
from casfs.store.runtime_files import is_locked
from casfs.store.uppers import list_now
from casfs.upper.written import OPEN_DIRECTORY, parent_below

_LONGEST = 200
"""Bytes of the place's own name in the one beside it: with all else it has 224, and may have 255."""


def require_free(directory: str) -> None:
    """Raises EnvironmentRefused if there is something at a place already, other than an empty directory; and OSError."""
    try:
        status = os.stat(directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        raise EnvironmentRefused(directory, "is there already, and is not a directory")
    if names := os.listdir(directory):
        raise EnvironmentRefused(directory, f"is not empty (it holds {min(names)!r})")


@dataclass(frozen=True, slots=True)
class Staging:
    """A directory that is being filled."""

    place: str  # what it will be
    name: str  # beside the place
    fd: int  # holds its lock

    @contextlib.contextmanager
    def below(self, path: str) -> Iterator[int]:
        """A descriptor of a directory in it ("": itself). Errors of the block that name no absolute path name one at the place."""
        try:
            with parent_below(self.fd, f"{path}/." if path else ".") as (fd, _):
                yield fd
        except OSError as error:
            name = error.filename if isinstance(error.filename, str) else ""  # of a symbolic link it would be what the link holds
            shown = "/".join(filter(None, (self.place, path, name)))
            raise OSError(error.errno, error.strerror, name if os.path.isabs(name) else shown) from None


@contextlib.contextmanager
def atomic_directory(directory: str) -> Iterator[Staging]:
    """A directory to be filled in the block, which then becomes `directory`: absent or empty till then. An exception leaves nothing.

    `directory` is absolute, and no component of it a symbolic link. Raises EnvironmentRefused, OSError.
    """
    require_free(directory)
    above, name = os.path.split(directory)
    with contextlib.ExitStack() as stack:
        try:
            parent = stack.enter_context(made_directory(above))
            _sweep(parent, name)
            staging = _make(parent, directory)
        except OSError as error:
            raise OSError(error.errno, error.strerror, directory) from None
        stack.callback(os.close, staging.fd)
        with naming(directory):
            try:
                yield staging
                sync_file_system(staging.fd)
                _rename(staging, parent)
            except BaseException:
                _remove(parent, staging.name, staging.fd)
                raise
            sync_file_system(staging.fd)  # its name


def _rename(staging: Staging, parent: int) -> None:
    if not _is_at(parent, staging.name, staging.fd):
        raise EnvironmentRefused(staging.place, f"another process has removed {staging.name!r}, in which it was being made")
    try:
        os.rename(staging.name, os.path.basename(staging.place), src_dir_fd=parent, dst_dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise EnvironmentRefused(staging.place, "another process has made it meanwhile") from None
        raise OSError(error.errno, error.strerror, staging.place) from None


def _make(parent: int, directory: str) -> Staging:
    """A new directory beside the place, and locked."""
    while True:
        name = f"{_prefix(os.path.basename(directory))}{os.urandom(8).hex()}"
        os.mkdir(name, 0o700, dir_fd=parent)
        with contextlib.suppress(FileNotFoundError):  # swept between mkdir and open
            fd = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
            if not _is_ours(fd):
                os.close(fd)
                raise PermissionError(errno.EPERM, "A directory that was just made there belongs to another user")
            fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_at(parent, name, fd):
                return Staging(directory, name, fd)
            os.close(fd)


def _is_at(parent: int, name: str, fd: int) -> bool:
    """Whether the directory behind a descriptor has its name still."""
    try:
        return os.path.samestat(os.stat(name, dir_fd=parent, follow_symlinks=False), os.fstat(fd))
    except FileNotFoundError:
        return False


def _is_ours(fd: int) -> bool:
    """Whether nobody else can have put anything into a directory."""
    status = os.fstat(fd)
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _prefix(name: str) -> str:
    """How names beside begin; they are names, too, where `name` is as long as one may be."""
    return f".{os.fsdecode(os.fsencode(name)[:_LONGEST])}.casfs-"


def _sweep(parent: int, name: str) -> None:
    """Remove what we left beside `name` when we were killed."""
    left = re.compile(re.escape(_prefix(name)) + "[0-9a-f]{16}")
    for found in filter(left.fullmatch, _names(parent)):
        with contextlib.suppress(OSError), closing_fd(os.open(found, OPEN_DIRECTORY, dir_fd=parent)) as fd:
            if _is_ours(fd) and not is_locked(fd):
                _remove(parent, found, fd)


def _names(parent: int) -> list[str]:
    """What is in a directory; nothing, if it may be written to but not read."""
    try:
        return list_now(parent)
    except PermissionError:
        return []


def _remove(parent: int, name: str, fd: int) -> None:
    """Remove what was begun, also where the disk has no room for another name; unless it has another name by now."""
    with contextlib.suppress(OSError):
        if not _is_at(parent, name, fd):
            return
        for child in list_now(fd):
            try:
                os.unlink(child, dir_fd=fd)
            except IsADirectoryError:
                shutil.rmtree(child, ignore_errors=True, dir_fd=fd)
        os.rmdir(name, dir_fd=parent)

"""A directory that appears at its place whole, or not at all: it is filled beside, made durable and then renamed.

    .<name>.casfs-<token>       beside the place, locked (flock(2)) while whoever fills it lives; the next one removes what the dead left
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator

from casfs.errors import EnvironmentRefused
from casfs.store.publish import naming, sync_file_system
from casfs.store.records import is_file_locked

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


_LONGEST = 200
"""Bytes of the place's own name in the one beside it: with all else it has 224, and may have 255."""


def require_free(directory: str) -> None:
    """Raises EnvironmentRefused if there is something at a place already, other than an empty directory; and OSError."""
    try:
        found = os.stat(directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        raise EnvironmentRefused(directory, "is there already, and is no directory")
    if names := os.listdir(directory):
        raise EnvironmentRefused(directory, f"is not empty (it holds {sorted(names)[0]!r})")


@contextlib.contextmanager
def filling(directory: str) -> Iterator[str]:
    """A directory to be filled in the block, which then becomes `directory`: absent or empty till then. An exception leaves nothing.

    `directory` is absolute, and its last component no symbolic link. Errors of the block that name a file name it at its place. Raises
    EnvironmentRefused, OSError.
    """
    require_free(directory)
    parent, name = os.path.split(directory)
    os.makedirs(parent, exist_ok=True)
    _sweep(parent, name)
    try:
        staging, fd = _make(parent, name)
    except OSError as error:
        raise OSError(error.errno, error.strerror, directory) from None
    try:
        with naming(directory):
            yield staging
            sync_file_system(fd)
            _rename(staging, directory)
            _sync_directory(parent)
    except OSError as error:
        if isinstance(error.filename, str) and error.filename.startswith(staging):
            error.filename = directory + error.filename.removeprefix(staging)
        raise
    finally:
        _remove(staging)
        os.close(fd)


def _rename(staging: str, directory: str) -> None:
    try:
        os.rename(staging, directory)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise EnvironmentRefused(directory, "somebody else has made it meanwhile") from None
        raise OSError(error.errno, error.strerror, directory) from None


def _make(parent: str, name: str) -> tuple[str, int]:
    """A new directory beside `name` and a descriptor that holds its lock."""
    while True:
        staging = f"{parent}/{_prefix(name)}{secrets.token_hex(8)}"
        os.mkdir(staging, 0o700)
        with contextlib.suppress(FileNotFoundError):  # swept between mkdir and open
            fd = os.open(staging, _DIRECTORY)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.path.lexists(staging):
                return staging, fd
            os.close(fd)


def _prefix(name: str) -> str:
    """How names beside begin; they are names, too, where `name` is as long as one may be."""
    return f".{os.fsdecode(os.fsencode(name)[:_LONGEST])}.casfs-"


def _sweep(parent: str, name: str) -> None:
    """Remove what the dead left beside `name`."""
    left = re.compile(re.escape(_prefix(name)) + "[0-9a-f]{16}")
    with contextlib.suppress(PermissionError):  # a directory that may be written to need not be readable
        for found in filter(left.fullmatch, os.listdir(parent)):
            if is_file_locked(f"{parent}/{found}") is False:
                _remove(f"{parent}/{found}")


def _remove(path: str) -> None:
    """Remove what was begun, also where the disk has no room for another name."""
    shutil.rmtree(path, ignore_errors=True)


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

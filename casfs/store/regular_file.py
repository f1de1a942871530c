"""Reading the store's small files. What is no regular file is damage; a FIFO planted under a name must not make a reader wait."""

from __future__ import annotations

import os
import stat

from casfs.errors import StoreDamaged
from casfs.store.publish import naming

OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


def read_plain_file(path: str) -> bytes:
    """All bytes of a small file. Raises FileNotFoundError if there is none, StoreDamaged if the name is something else's."""
    try:
        mode = os.lstat(path).st_mode
    except NotADirectoryError:
        raise StoreDamaged(path, "lies below something that is not a directory") from None
    if not stat.S_ISREG(mode):
        raise StoreDamaged(path, f"is {describe_kind(mode)} instead of a regular file")
    fd = os.open(path, OPEN_FLAGS)
    with naming(path), os.fdopen(fd, "rb") as file:
        return file.read()


_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


def describe_kind(mode: int) -> str:
    """What a mode says that a file is, with its article."""
    return _KINDS.get(stat.S_IFMT(mode), "a regular file")

"""Cloning: the bytes of a file in another one, by sharing blocks where the file system can (reflink), else by the kernel's own copying."""

from __future__ import annotations

import errno
import fcntl
import os

from casfs.store.publish import write_all
from casfs.upper.merged import CHUNK

_FICLONE = 0x40049409  # ioctl_ficlone(2)

_CANNOT = frozenset({errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.ENOTTY, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY, errno.EXDEV})
"""What file systems and kernels answer that can't do it, or not with these two files (ioctl_ficlone(2), copy_file_range(2))."""


def clone_file(source: int, target: int, size: int) -> bool:
    """Fill the empty file `target` with the `size` bytes of `source`; whether both share their blocks now. Raises OSError."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        _copy(source, target, size)
        return False
    return True


def _copy(source: int, target: int, size: int) -> None:
    done = 0
    try:
        while done < size and (count := os.copy_file_range(source, target, size - done, done, done)):
            done += count
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    os.lseek(target, done, os.SEEK_SET)
    while chunk := os.pread(source, CHUNK, done):  # nothing is left, if the kernel could
        write_all(target, chunk)
        done += len(chunk)

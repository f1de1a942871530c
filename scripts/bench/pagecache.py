"""The kernel's caches: how many bytes of which files are in memory."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_SYS_CACHESTAT = 451  # cachestat(2), Linux 6.5
_DROP_CACHES = "/proc/sys/vm/drop_caches"  # proc_sys_vm(5)
_PAGE = os.sysconf("SC_PAGE_SIZE")

_libc = ctypes.CDLL(None, use_errno=True)


def cached_bytes(*tops: Path) -> int:
    """What is in the page cache of all files below folders; an inode with several names counts once. Raises OSError before Linux 6.5."""
    return sum(_cached_pages(path) for path in _iter_files(tops)) * _PAGE


def evict(*tops: Path) -> None:
    """Drop the pages of all files below folders, as far as nobody has them mapped."""
    os.sync()
    for path in _iter_files(tops):
        fd = os.open(path, os.O_RDONLY | os.O_NOATIME)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def can_drop() -> bool:
    """Whether this user may drop the machine's caches."""
    return os.access(_DROP_CACHES, os.W_OK)


def drop_caches() -> None:
    """Drop all clean pages, names and inodes of the machine."""
    os.sync()
    Path(_DROP_CACHES).write_text("3", encoding="ascii")


def _iter_files(tops: tuple[Path, ...]) -> Iterator[str]:
    seen = set()
    for top in tops:
        for directory, _, names in os.walk(top):
            for name in names:
                found = os.lstat(path := os.path.join(directory, name))
                if stat.S_ISREG(found.st_mode) and found.st_blocks and (found.st_dev, found.st_ino) not in seen:
                    seen.add((found.st_dev, found.st_ino))
                    yield path


def _cached_pages(path: str) -> int:
    whole = (ctypes.c_uint64 * 2)(0, 0)
    counts = (ctypes.c_uint64 * 5)()
    fd = os.open(path, os.O_RDONLY | os.O_NOATIME)
    try:
        if _libc.syscall(_SYS_CACHESTAT, fd, whole, counts, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    finally:
        os.close(fd)
    return counts[0]


def can_count(folder: Path) -> bool:
    """Whether this kernel tells what is cached."""
    path = folder / "probe"
    path.write_bytes(b"x")
    try:
        return _cached_pages(str(path)) > 0
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        return False
    finally:
        path.unlink()


def memory_of_machine() -> dict[str, int]:
    """Bytes of all page caches, and of the kernel's own objects, such as names and inodes (proc_meminfo(5))."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    sizes = {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}
    return {"page cache": sizes["Cached"] + sizes["Buffers"], "slab": sizes["Slab"]}

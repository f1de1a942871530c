"""Copying what stays of an upper layer into the next one: content, mode, owner, times, extended attributes, hard links, whiteouts.

What was copied from an opaque directory is not opaque any more: the plan names what must stay hidden in it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from casfs.descriptors import closing_fd
from casfs.store.environments import Environment
from casfs.store.publish import naming
from casfs.store.regular_file import OPEN_FLAGS
from casfs.store.uppers import Upper, make_current, next_upper
from casfs.upper.merged import CHUNK
from casfs.upper.next_upper import UpperPlan
from casfs.upper.written import UpperDirectory, UpperEntryKind

_OPAQUE = ("user.overlay.opaque", "trusted.overlay.opaque")


def build_upper(upper_directory: UpperDirectory, plan: UpperPlan, target: str) -> None:
    """Fill the empty directory `target` as planned. Raises OSError; who makes it current also makes it durable."""
    inodes: dict[tuple[int, int], str] = {}
    directories = [entry.path for entry in plan.kept if entry.kind is UpperEntryKind.DIRECTORY]
    for one in plan.kept:
        with upper_directory.parent_of(one.path) as (parent, name):
            _copy_entry(f"/proc/self/fd/{parent}/{name}", f"{target}/{one.path}", inodes)
    for path in plan.whiteouts:
        os.mknod(f"{target}/{path}", stat.S_IFCHR | 0o600, os.makedev(0, 0))
    for path in sorted(directories, reverse=True):  # what was put into them changed their times
        with upper_directory.parent_of(path) as (parent, name):
            _copy_times(os.lstat(name, dir_fd=parent), f"{target}/{path}")
    _copy_attributes(upper_directory.directory, target)


def replace_upper(environment: Environment, upper_directory: UpperDirectory, plan: UpperPlan) -> Upper:
    """Build the next upper layer as planned, and make it current. Raises OSError."""
    upper = next_upper(environment)
    build_upper(upper_directory, plan, upper.files)
    make_current(environment, upper)
    return upper


def _copy_entry(source: str, target: str, inodes: dict[tuple[int, int], str]) -> None:
    """Copy one entry. `source` ends in a name below a descriptor, which is not followed; directories come empty."""
    status = os.lstat(source)
    key = (status.st_dev, status.st_ino)
    if key in inodes:
        os.link(inodes[key], target, follow_symlinks=False)
        return
    if stat.S_ISDIR(status.st_mode):
        os.mkdir(target, 0o700)
    elif stat.S_ISREG(status.st_mode):
        _copy_content(source, target)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), target)
    else:
        os.mknod(target, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev)
    if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
        inodes[key] = target
    _copy_attributes(source, target)


def _copy_content(source: str, target: str) -> None:
    """Copy a regular file; holes stay holes, so that a sparse file can't fill the disk."""
    with (
        closing_fd(os.open(source, OPEN_FLAGS)) as source_fd,
        closing_fd(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)) as target_fd,
        naming(target),
    ):
        size = os.fstat(source_fd).st_size
        for start, end in _iter_data(source_fd, size):
            _copy_range(source_fd, target_fd, start, end)
        os.ftruncate(target_fd, size)


def _iter_data(fd: int, size: int) -> Iterable[tuple[int, int]]:
    """(start, end) of each part of a file that is no hole (lseek(2))."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                return
            raise
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, end


def _copy_range(source_fd: int, target_fd: int, start: int, end: int) -> None:
    while start < end and (chunk := os.pread(source_fd, min(CHUNK, end - start), start)):
        start += os.pwrite(target_fd, chunk, start)


def _copy_attributes(source: str, target: str) -> None:
    """Owner, mode, extended attributes and times; none of them of what a symbolic link points to."""
    status = os.lstat(source)
    owner = os.lstat(target)
    if (owner.st_uid, owner.st_gid) != (status.st_uid, status.st_gid):
        os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    for name in os.listxattr(source, follow_symlinks=False):
        if name not in _OPAQUE:
            os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(target, stat.S_IMODE(status.st_mode))  # last: chown(2) clears bits
    _copy_times(status, target)


def _copy_times(status: os.stat_result, target: str) -> None:
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)

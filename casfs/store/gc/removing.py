"""Removing what lies in a store, and nothing beside it: no symbolic link is followed on the way to what is removed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence

from casfs.store.uppers import remove_tree

_BLOCK = 512  # bytes; the unit of st_blocks (stat(2))

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Remover:
    """Removes what lies in directories of a store, or only counts what that would free. It needs no room on the disk."""

    def __init__(self, root: str, *, is_dry: bool) -> None:
        self.size = 0  # bytes on the disk
        self._root = root
        self._is_dry = is_dry

    def remove_files(self, directory: str, names: Sequence[str]) -> int:
        """How many of the files there were to remove. What is a directory stays. Raises OSError."""
        if not names:  # then the directory need not be ours
            return 0
        count = 0
        with self._opened(directory) as fd:
            for name in names if fd is not None else ():
                with _about(f"{directory}/{name}"):
                    status = _look(name, fd)
                    if status is None or stat.S_ISDIR(status.st_mode):
                        continue
                    if not self._is_dry:
                        os.unlink(name, dir_fd=fd)
                self.size += status.st_blocks * _BLOCK
                count += 1
        return count

    def remove_directories(self, directory: str, names: Sequence[str]) -> int:
        """Remove directories with all that is in them: each is gone at once. What is a file stays. Raises OSError.

        What a dead process left of one lies in tmp/, where who publishes next sweeps it.
        """
        if not names:  # then the directory need not be ours
            return 0
        count = 0
        with self._opened(directory) as fd, self._opened(f"{self._root}/tmp") as tmp:
            for name in names if fd is not None and tmp is not None else ():
                doomed = secrets.token_hex(8)
                with _about(f"{directory}/{name}"):
                    status = _look(name, fd)
                    if status is None or not stat.S_ISDIR(status.st_mode):
                        continue
                    size = _tree_size(f"{directory}/{name}")
                    if not self._is_dry:
                        os.rename(name, doomed, src_dir_fd=fd, dst_dir_fd=tmp)
                if not self._is_dry:
                    with contextlib.suppress(FileNotFoundError):  # somebody sweeps it
                        remove_tree(f"{self._root}/tmp/{doomed}")
                self.size += size
                count += 1
        return count

    @contextlib.contextmanager
    def _opened(self, directory: str) -> Iterator[int | None]:
        """Descriptor of a directory below the root; None if it is not there, or lies behind a symbolic link."""
        with contextlib.ExitStack() as stack:
            fd: int | None = None
            for number, name in enumerate((self._root, *os.path.relpath(directory, self._root).split("/"))):
                try:
                    fd = os.open(name, _DIRECTORY | (os.O_NOFOLLOW if number else 0), dir_fd=fd)
                except OSError as error:
                    if error.errno not in _NOT_THERE:
                        error.filename = directory
                        raise
                    fd = None
                    break
                stack.callback(os.close, fd)
            yield fd


def _look(name: str, directory: int | None) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _about(path: str) -> Iterator[None]:
    """Let an OSError out of the block name all of the path."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = path, None
        raise


def _tree_size(path: str) -> int:
    """Bytes that a directory takes with all that is in it."""
    inside = (f"{directory}/{name}" for directory, directories, files in os.walk(path) for name in (*directories, *files))
    return sum(os.lstat(one).st_blocks * _BLOCK for one in (path, *inside))

"""Following: where a path leads, when somebody else may have a hand in it.

Root acts in directories of others. Whoever owns one can put a symbolic link there at any time, so that root makes, mounts or writes
something where only root may. So root follows a link only if it is root's own (as the kernel does in /tmp: proc_sys_fs(5),
protected_symlinks); and what a path was found to lead to is opened component by component, through no link at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator

from casfs.descriptors import closing_fd
from casfs.errors import PathRefused

ON_THE_WAY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC  # one need not be allowed to read it

_ANYTHING = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40  # as the kernel: path_resolution(7)


def resolve_path(path: str) -> str:
    """The absolute path, without links and needless parts, to which `path` leads; its end may be absent.

    The last component may be a mount that is dead or hangs: no file system is asked about it but to read a link.

    Raises PathRefused for links in a circle and, if we are root, for one that belongs to another user.
    """
    with closing_fd(os.open("/", ON_THE_WAY)) as root:
        return resolve_below(root, os.path.join(os.getcwd(), path))


def resolve_below(root: int, path: str) -> str:
    """Where a path leads as a process sees it that has the open directory `root` as its root directory: no link leads out of that."""
    is_root = os.geteuid() == 0
    # in a user namespace the real root, who owns /, has another number
    trusted = {0, os.stat("/").st_uid}
    with contextlib.ExitStack() as opened:
        walk = _Walk(root, lambda link: not is_root or os.fstat(link).st_uid in trusted, opened)
        return walk.to(path)


class _Walk:
    """A way from a root directory, through descriptors that stay open till its end: nobody can move what is behind us."""

    def __init__(self, root: int, may_follow: Callable[[int], bool], opened: contextlib.ExitStack) -> None:
        self._root = root
        self._may_follow = may_follow
        self._opened = opened
        self._behind: list[tuple[str, int]] = []  # what there is: (name, descriptor)
        self._absent: list[str] = []
        self._links = 0

    def to(self, path: str) -> str:
        """The way to a path, as a path without links. Raises PathRefused."""
        ahead = path.split("/")[::-1]
        while ahead:
            name = ahead.pop()
            if name == "..":
                del (self._absent or self._behind)[-1:]
            elif name not in {"", "."} and (target := self._pass(name)) is not None:
                if target.startswith("/"):
                    self._behind.clear()
                ahead += target.split("/")[::-1]
        return "/" + "/".join([*(name for name, _ in self._behind), *self._absent])

    def _pass(self, name: str) -> str | None:
        """Go on to a name; what it holds if it is a link, which is not passed."""
        above = self._behind[-1][1] if self._behind else self._root
        try:
            if self._absent:
                raise FileNotFoundError
            fd = os.open(name, _ANYTHING, dir_fd=above)
        except OSError:  # who opens the way that is told will be told why
            self._absent.append(name)
            return None
        self._opened.callback(os.close, fd)
        try:
            target = os.readlink("", dir_fd=fd)
        except OSError:
            self._behind.append((name, fd))
            return None
        self._check(name, fd, target)
        if _leads_to_no_path(fd, target):
            self._behind.append((name, fd))
            return None
        return target

    def _check(self, name: str, link: int, target: str) -> None:
        path = "/" + "/".join([*(passed for passed, _ in self._behind), name])
        self._links += 1
        if self._links > _MOST_LINKS:
            raise PathRefused(path, os.strerror(errno.ELOOP).lower())
        if not self._may_follow(link):
            owner = os.fstat(link).st_uid
            raise PathRefused(path, f"is a symbolic link of user {owner}, and root follows only its own links; name its target, {target!r}")


def _leads_to_no_path(link: int, target: str) -> bool:
    """Whether a link is the kernel's own to a pipe or the like, as behind /dev/stdout: whoever opens it gets there, and nobody else."""
    return "/" not in target and ":" in target and os.fstat(link).st_dev == os.lstat("/proc/self").st_dev


@contextlib.contextmanager
def made_directory(path: str, root: int | None = None) -> Iterator[int]:
    """A descriptor, with O_PATH, of a directory, which is made if it is not there with all that is missing above it.

    `path` is what `resolve_path` or `resolve_below` gave: a link that somebody has put there since is not followed. Raises OSError.
    """
    fd = os.open("/", ON_THE_WAY) if root is None else os.dup(root)
    try:
        for name in filter(None, path.split("/")):
            try:
                below = os.open(name, ON_THE_WAY, dir_fd=fd)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=fd)
                below = os.open(name, ON_THE_WAY, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)

"""Upper layers: what tools wrote into the mounts of an environment.

    environments/<name>/upper/<n>/files         the upper directory of overlays (overlayfs): its owner is the environment's, its mode 0755
    environments/<name>/upper/<n>/work/<token>  work directories, one for each overlay that was ever made on it
    environments/<name>/upper/current -> <n>

The content of `files` belongs to whoever writes into the mounts: whatever lies in it is to be read with suspicion, and never through a
symbolic link. An upper layer under a live overlay is never changed from outside, since the kernel leaves undefined what is seen then. Who
wants another content builds the next upper layer and makes it current; the old one goes when no overlay uses it any more.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from casfs.descriptors import closing_fd
from casfs.errors import StoreDamaged
from casfs.store.environments import Environment


@dataclass(frozen=True, slots=True)
class Upper:
    """One upper layer of an environment."""

    number: int
    directory: str

    @property
    def files(self) -> str:
        """The upper directory of overlays."""
        return f"{self.directory}/files"

    @property
    def is_empty(self) -> bool:
        """Whether nobody has written anything into it."""
        return not os.listdir(self.files)

    def new_work(self) -> str:
        """Path of a new empty work directory, on the file system of `files`. Until an overlay uses it, `sweep_uppers` may take it."""
        path = f"{self.directory}/work/{os.urandom(8).hex()}"
        os.makedirs(path, mode=0o700)
        return path

    def works(self) -> list[str]:
        """Its work directories."""
        return [f"{self.directory}/work/{token}" for token in _names(f"{self.directory}/work")]


def current_upper(environment: Environment) -> Upper | None:
    """The current upper layer; None, after two system calls, if nobody ever wrote into a mount. Raises StoreDamaged."""
    link = f"{_directory(environment)}/current"
    try:
        target = os.readlink(link)
    except FileNotFoundError:
        target = "1"  # a power cut may take away the link to the first one, but not what was synced in it
        if not _is_directory(f"{_directory(environment)}/{target}/files"):
            return None
    except OSError as error:
        reason = "is not a symbolic link" if error.errno == errno.EINVAL else f"can't be read: {error.strerror}"
        raise StoreDamaged(link, reason) from None
    upper = _parse_upper(environment, target)
    if upper is None or not _is_directory(upper.files):
        raise StoreDamaged(link, f"points to {target!r}, which is not an upper layer")
    return upper


def require_upper(environment: Environment) -> Upper:
    """The current upper layer; an empty one is made current if there is none. Takes the environment's lock. Raises StoreDamaged."""
    if (upper := current_upper(environment)) is not None:
        return upper
    with environment.locked():
        if (upper := current_upper(environment)) is None:
            upper = next_upper(environment)
            os.symlink(str(upper.number), f"{_directory(environment)}/current")  # it is empty: nothing is lost with it
        return upper


def next_upper(environment: Environment) -> Upper:
    """A new, empty upper layer, which is not current yet. Call it with the environment's lock held."""
    parent = _directory(environment)
    os.makedirs(parent, mode=0o700, exist_ok=True)
    highest = max((upper.number for upper in iter_uppers(environment)), default=0)
    upper = Upper(highest + 1, f"{parent}/{highest + 1}")
    os.mkdir(upper.directory, 0o700)
    os.mkdir(f"{upper.directory}/work", 0o700)
    os.mkdir(upper.files)
    os.chmod(upper.files, 0o755)  # whatever the umask
    owner = environment.owner_ids()
    if owner != (os.geteuid(), os.getegid()):
        os.chown(upper.files, *owner)
    return upper


def make_current(environment: Environment, upper: Upper) -> None:
    """Let `upper` be the current one: all that was written into it is durable first. Call it with the environment's lock held."""
    with environment.store.batch() as batch:
        batch.add_link(f"{_directory(environment)}/current", str(upper.number))
        batch.commit()


def sweep_uppers(environment: Environment, is_in_use: Callable[[str], bool]) -> None:
    """Remove upper layers that are not current, and work directories, except those of which `is_in_use` says that an overlay has them.

    It is asked with `files` and with each work directory. Takes the environment's lock; the caller holds back new overlays, whose work
    directories nobody uses yet. What can't be removed now is left to the next sweep. Raises StoreDamaged.
    """
    if not _is_directory(_directory(environment)):
        return
    with environment.locked():
        current = current_upper(environment)
        for upper in iter_uppers(environment):
            works = upper.works()
            used = {path for path in (upper.files, *works) if is_in_use(path)}
            doomed = [upper.directory] if upper != current and not used else [work for work in works if work not in used]
            for path in doomed:
                with contextlib.suppress(OSError):
                    remove_tree(path)


def remove_tree(path: str) -> None:
    """Remove a directory and all below it, however deep it is; no symbolic link is followed. Raises OSError."""
    with closing_fd(_open_directory(path)) as fd:
        while directories := _unlink_all(fd):
            for name in directories:
                _dissolve(fd, name)
    os.rmdir(path)


def _unlink_all(fd: int) -> list[str]:
    """Unlink all but the directories in a directory, and say which these are."""
    directories = []
    for name in list_now(fd):
        try:
            os.unlink(name, dir_fd=fd)
        except (IsADirectoryError, PermissionError):
            directories.append(name)
    return directories


def list_now(directory: int) -> list[str]:
    """The names that are in a directory now, given a descriptor of it.

    Through the descriptor itself btrfs shows what was there when it was opened, or when it was last read to its end.
    """
    with closing_fd(os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)) as fd:
        return os.listdir(fd)


def _dissolve(parent: int, name: str) -> None:
    """Remove one directory of `parent`; its directories move up into `parent` by new names, so that nobody ever has to go deep."""
    with closing_fd(_open_directory(name, parent)) as fd:
        for child in _unlink_all(fd):
            os.rename(child, os.urandom(8).hex(), src_dir_fd=fd, dst_dir_fd=parent)
    os.rmdir(name, dir_fd=parent)


def _open_directory(path: str, parent: int | None = None) -> int:
    """A descriptor of a directory. The kernel makes directories with no permissions in work directories: they get some."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, dir_fd=parent)
    except PermissionError:
        os.chmod(path, 0o700, dir_fd=parent)
        return os.open(path, flags, dir_fd=parent)


def _directory(environment: Environment) -> str:
    return f"{environment.directory}/upper"


def iter_uppers(environment: Environment) -> Iterator[Upper]:
    """Every upper layer, the current one among them."""
    for name in _names(_directory(environment)):
        if (upper := _parse_upper(environment, name)) is not None:
            yield upper


def _parse_upper(environment: Environment, name: str) -> Upper | None:
    return Upper(int(name), f"{_directory(environment)}/{name}") if re.fullmatch(r"[1-9][0-9]{0,17}", name) else None


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False

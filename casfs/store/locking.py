"""Locks: who changes something keeps others from it meanwhile (flock(2)).

    locks/<name>                     one for the whole store
    environments/<name>/lock         the right to publish the next generation
    environments/<name>/upper/lock   the right to freeze the mounts

Who can open a file, if only to read it, can lock it, and everybody waits. So a lock is a file that only its owner (and root) can open. One
that is open to others, since somebody opened the whole store to them, gives way to a new one: at once if only such others hold it.

Who may only read a store takes no lock in it: they change nothing, and nobody has to wait for them. What is collected while they read is
missing, and they are told so. So nobody ever takes a lock in a shared pool that lies behind their own store.

Who waits for long says for whom, once for all locks of one directory: a user need not know that there are several.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator

from casfs.store.holders import describe_holders, is_held_by_strangers, is_open_to_others
from casfs.store.publish import naming

_OPEN = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_LONG_S = 1.0
_LOOK_EVERY_S = 0.02  # where waiting must not be blind

_told: set[str] = set()


class LockBusy(Exception):
    """Somebody else has a lock, and one was not to wait for it."""


@contextlib.contextmanager
def holding(path: str, *, is_shared: bool = False, may_wait: bool = True) -> Iterator[None]:
    """Hold a lock of a store during the block. The file is made if it is not there. Raises LockBusy if one may not wait, and OSError."""
    fd = _take(path, fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX, may_wait=may_wait)
    try:
        yield
    finally:
        if fd is not None:
            os.close(fd)


def _take(path: str, how: int, *, may_wait: bool) -> int | None:
    """A descriptor that holds a lock; None for who may only read."""
    while (fd := _open(path)) is not None:
        with contextlib.ExitStack() as opened, naming(path):
            opened.callback(os.close, fd)
            if is_replaced := is_open_to_others(fd):
                fd = _replace(path, fd, opened, may_wait=may_wait)
            else:
                _wait(path, fd, how, may_wait=may_wait)
            if is_at(fd, path):
                if is_replaced:
                    fcntl.flock(fd, how)
                return os.dup(fd)
    return None


def _open(path: str) -> int | None:
    """A descriptor of a lock, which is made if it is not there; None for who may only read. Raises FileNotFoundError as `open` does."""
    above = os.path.dirname(path)
    try:
        fd = os.open(path, _OPEN, 0o600)
    except FileNotFoundError:
        if os.path.basename(above) != "locks":
            raise
        _make_directory(above)
        fd = os.open(path, _OPEN, 0o600)
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EROFS} or _may_write(above):
            raise
        return None
    _give_to_owner(fd, above)
    return fd


def _make_directory(path: str) -> None:
    """In a store that an earlier version made."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    _give_to_owner(path, os.path.dirname(path))


def _give_to_owner(made: int | str, above: str) -> None:
    """What root makes in somebody's store is theirs."""
    if os.geteuid() == 0:
        owner = os.stat(above)
        if os.stat(made).st_uid != owner.st_uid:
            os.chown(made, owner.st_uid, owner.st_gid)


def _may_write(above: str) -> bool:
    return os.access(os.path.dirname(above) if os.path.basename(above) == "locks" else above, os.W_OK)


def _wait(path: str, fd: int, how: int, *, may_wait: bool) -> None:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        if not may_wait:
            raise LockBusy from None
        import threading  # 3 ms, and mostly nobody has to wait

        timer = threading.Timer(_LONG_S, _tell, (path, fd))
        timer.start()
        try:
            fcntl.flock(fd, how)
        finally:
            timer.cancel()
            timer.join()


def _tell(path: str, fd: int) -> None:
    """Say for whom we wait, unless that we wait was said before."""
    if (above := os.path.dirname(path)) not in _told:
        import logging  # 5 ms

        _told.add(above)
        logging.getLogger("casfs").warning("waiting for other commands that use the store: %s holds %s", describe_holders(fd), path)


def say_waiting(path: str) -> None:
    """Say for whom we wait who look now and then whether a lock can be had."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _tell(path, fd)
        finally:
            os.close(fd)


def is_at(fd: int, path: str) -> bool:
    """Whether the path still leads to the open file."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _replace(path: str, old: int, opened: contextlib.ExitStack, *, may_wait: bool) -> int:
    """Let a new lock, which we hold, take the place of one that is open to others, unless somebody else does so."""
    began = time.monotonic()
    while not _is_free(old):
        if not may_wait:
            raise LockBusy
        if time.monotonic() - began > _LONG_S:
            _tell(path, old)
        time.sleep(_LOOK_EVERY_S)
    new = os.open(f"{path}.new", _OPEN, 0o600)
    opened.callback(os.close, new)
    if is_open_to_others(new):  # left by who was killed, and then opened: who knows who holds it
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}.new")
        return new
    _give_to_owner(new, os.path.dirname(path))
    fcntl.flock(new, fcntl.LOCK_EX)  # nobody holds it for longer than this takes
    if is_at(new, f"{path}.new") and is_at(old, path):
        os.rename(f"{path}.new", path)
    return new


def _is_free(fd: int) -> bool:
    """Whether nobody who may hold a lock that is open to others does."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return is_held_by_strangers(fd)
    return True

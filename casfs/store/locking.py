"""Locks: who changes something keeps others from it meanwhile (flock(2)).

Every lock of a store, in the order in which a process takes those that it waits for:

    locks/turn                       held while locks/changes is waited for, so that nobody waits for ever (see `shared`)
    locks/changes                    shared by all that change the store; exclusive for whoever takes away what they rely on
    environments/<name>/upper/lock   the right to freeze the mounts
    locks/mounts                     the right to start a host, and to make, move or end mounts (locks/places in an older store)
    environments/<name>/lock         the right to publish the next generation
    locks/bytecode-<interpreter>     the right to compile for an interpreter
    locks/config                     the right to change config.toml
    locks/clock                      the right to date what is new (see `clock`)
    stamps/scrub.lock                the right to scrub: who does not get it does without

Locks of files that a process has just made under names of its own, which tell others that it lives. Nobody waits for them:

    run/<id>.json.new                a lease (see `leases`), which then becomes run/<id>.json
    run/change-<id>.new              a change that is under way (see `pending_changes`)
    tmp/<id>                         a batch of files (see `publish`)

Who can open a file, if only to read it, can lock it, and everybody waits. So a lock is a file that only its owner (and root) can open. One
that is open to others, since somebody opened the whole store to them, gives way to a new one: at once if only such others hold it.

Who may only read a store takes no lock in it: they change nothing, and nobody has to wait for them. What is collected while they read is
missing, and they are told so. So nobody ever takes a lock in a shared pool that lies behind their own store.

Who waits for long says for whom, once for all locks of one directory: a user need not know that there are several.

Who waits for a lock finds out which processes hold it, and whether any of them may.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator

from casfs.descriptors import closing_fd
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
    with contextlib.suppress(OSError), closing_fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC)) as fd:
        _tell(path, fd)


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


_MOST_NAMED = 3
_LONGEST = 80  # characters of a command


def describe_holders(fd: int) -> str:
    """`casfs add six (process 123)`, as far as it can be told who holds the lock of an open file."""
    found = [_describe(pid) for pid in _iter_lockers(fd) if pid != os.getpid()]
    if len(found) > _MOST_NAMED:
        found[_MOST_NAMED:] = [f"{len(found) - _MOST_NAMED} more"]
    return " and ".join([*filter(None, [", ".join(found[:-1])]), *found[-1:]]) or "an unknown process"


def _describe(pid: int) -> str:
    owner = _owner_of(pid)
    whose = f" of user {owner}" if owner not in {None, os.geteuid()} else ""
    return f"{_command_of(pid)} (process {pid}{whose})"


def _command_of(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
        words = file.read().rstrip("\0").split("\0")
        ours = next((number for number, word in enumerate(words[:6]) if word == "casfs" or word.endswith("/casfs")), 0)
        if command := " ".join(["casfs", *words[ours + 1 :]] if ours else words):
            return command if len(command) <= _LONGEST else f"{command[:_LONGEST]}..."
    return "a command"


def is_open_to_others(fd: int) -> bool:
    """Whether others than its owner may open a file, and so lock it."""
    return bool(os.fstat(fd).st_mode & 0o077)


def is_held_by_strangers(fd: int) -> bool:
    """Whether the lock of an open file is held by none of those who may: root, we, and to whom the file belongs.

    Whoever holds it by a descriptor that another process gave them holds it as well. In doubt it is held by somebody who may.
    """
    trusted = {0, os.geteuid(), os.fstat(fd).st_uid}
    lockers = set(_iter_lockers(fd))
    inode = f":{os.fstat(fd).st_ino} "
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        if _owner_of(pid) in trusted:
            try:
                if _holds(pid, inode):
                    return False
            except PermissionError:  # root's, and we are not
                if pid in lockers:
                    return False
    return os.geteuid() == 0 or all(_owner_of(pid) not in {None, *trusted} for pid in lockers)


def _holds(pid: int, inode: str) -> bool:
    """Whether a process has a descriptor that holds a lock of this file (proc_pid_fdinfo(5))."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for fd in os.listdir(f"/proc/{pid}/fdinfo"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
                if any(line.startswith("lock:") and " FLOCK " in line and inode in line for line in file):
                    return True
    return False


def _owner_of(pid: int) -> int | None:
    """The user as whom a process runs; what owns its directory in /proc may be root all the same (proc(5))."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Uid:"))
    return None


def _iter_lockers(fd: int) -> Iterator[int]:
    """The processes that took the locks of a file (proc_locks(5)); one that has ended may have left its lock to another."""
    inode = f":{os.fstat(fd).st_ino}"
    with contextlib.suppress(OSError), open("/proc/locks", encoding="ascii") as file:
        for line in file:
            words = line.split()
            if words[1] == "FLOCK" and words[5].endswith(inode) and int(words[4]) > 0:
                yield int(words[4])

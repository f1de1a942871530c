"""Holders: which processes hold a lock (flock(2)), for whoever waits for it, and whether any of them may."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

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

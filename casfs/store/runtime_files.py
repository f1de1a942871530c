"""Records: small files, most of them in run/, that matter only as long as the mounts and processes of which they tell.

So nothing of them is synced. A reader sees all of one or none of it, and a lock tells whether the process that made it lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time

from casfs.store.holders import is_held_by_strangers, is_open_to_others
from casfs.store.publish import naming


def now_utc() -> str:
    """This second, as records and generations tell it."""
    return format_utc(time.time())


def format_utc(seconds: float) -> str:
    """A time since the epoch (ISO 8601, UTC)."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))


def write_record(path: str, value: object) -> None:
    """Let the file at `path` hold a value, as JSON, in place of what it held. One writer at a time.

    Raises OSError, and then leaves nothing.
    """
    try:
        with naming(path), open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump(value, file)
        os.rename(f"{path}.new", path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(f"{path}.new")
        raise


def is_locked(fd: int) -> bool:
    """Whether somebody else who may has the file locked (see `locking`); if nobody has, `fd` shares a lock on it until it is closed."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return not (is_open_to_others(fd) and is_held_by_strangers(fd))
    return False


def is_file_locked(path: str) -> bool | None:
    """Whether somebody has the file at `path` locked; None if it can't be opened."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return is_locked(fd)
    finally:
        os.close(fd)

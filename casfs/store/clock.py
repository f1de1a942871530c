"""The store's clock: it gives times, in whole seconds since the epoch, of which none comes twice and each is later than all before.

    clock                           the newest time that was given, or was seen in a shared pool: ten digits

A time is now, rounded up, or one more than the newest if that is later. So what enters a store is later than all that was made before from
what it showed, and it may be dated a second ahead. Where the system's clock is wrong:

    it went back, or it is 1970     the times go on, one second each, from the newest; in a new store from 2015, later than what the version
                                    before dated by content
    it is far ahead                 its time is taken, since nobody can know; when it is right again, the times go on from there, one second
                                    each: their order is right, and they are in the future. From 2099 on it is not believed

The digits are written in place, by one process at a time, and synced with the batch that publishes what has the time. In a store that lost
them the next time is now; that is too early only if the system's clock was set back as well.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator

from casfs.descriptors import closing_fd
from casfs.store.locking import holding
from casfs.store.manifests import FIRST_TIME, LAST_TIME
from casfs.store.publish import naming
from casfs.store.store import Store

_DIGITS = 10

_LATEST_NOW = LAST_TIME - 366 * 24 * 3600  # leaves 30 million times


class Clock:
    """The clock of a store, which nobody else reads or sets meanwhile."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def next_times(self, count: int) -> int:
        """The first of so many times, one second after the other, that nothing has yet. Raises OSError."""
        now = math.ceil(time.time())
        first = max(now if now <= _LATEST_NOW else 0, _read(self._fd) + 1, FIRST_TIME)
        self._write(first + count - 1)
        return first

    def note(self, seen: int) -> None:
        """Let all times that are given from now on be later than one that something in use has. Raises OSError."""
        self._write(max(seen, _read(self._fd)))

    def _write(self, newest: int) -> None:
        os.pwrite(self._fd, b"%010d\n" % newest, 0)


@contextlib.contextmanager
def held_clock(store: Store) -> Iterator[Clock]:
    """Hold the store's clock; others wait. Raises OSError."""
    path = store.path("clock")
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    with holding(store.path("locks", "clock")), naming(path), closing_fd(os.open(path, flags, 0o644)) as fd:
        yield Clock(fd)


def newest_time(store: Store) -> int:
    """The newest time that was given; 0 if it is not known."""
    try:
        fd = os.open(store.path("clock"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    with closing_fd(fd):
        return _read(fd)


def _read(fd: int) -> int:
    content = os.pread(fd, _DIGITS, 0)
    found = int(content) if content.isdigit() else 0
    return found if FIRST_TIME <= found <= LAST_TIME else 0

"""The process that scrubs: a child of the daemon, which it never outlives, and last in line for processor and disk.

It looks at the blobs of what comes to be mounted, and reads the pool at a bounded rate (`casfs.store.scrub`). When a damaged blob was set
aside, it lets new overlays take the place of those that may have it open: there it is an error, and once it has been restored, right.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from casfs.errors import CasfsError
from casfs.mounts.mounting import refresh_late_mounts
from casfs.mounts.mountpoints import iter_mount_records
from casfs.overlay import kernel
from casfs.store.environments import Environment
from casfs.store.leases import iter_leases
from casfs.store.quarantine import read_losses
from casfs.store.scrub import Scrub, read_scrub_state
from casfs.store.shared import use_what_is_there
from casfs.store.store import Store

log = logging.getLogger("casfs")

_fork = multiprocessing.get_context("fork")

_LOOK_EVERY_S = 2.0  # for new mounts
_SAVE_EVERY_S = 60.0
_READ_AGAIN_S = 7 * 24 * 3600.0  # from the end of one reading of the pool to the beginning of the next
_MOST_AT_ONCE_S = 0.1  # of reading, before it rests
_CHEAP = 4096  # bytes: what looking at a blob costs, where none of it is read
_WORST = 19  # nice(2)


class ScrubberProcess:
    """The process of a daemon that scrubs, in a block of it."""

    def __init__(self, store: Store, inherited: Iterable[int]) -> None:
        """`inherited` are descriptors of ours that it must not hold open."""
        self._process = _fork.Process(target=_live, args=(store, inherited, os.getpid()))

    def __enter__(self) -> ScrubberProcess:
        self._process.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """End it, at whatever it is."""
        self._process.kill()
        self._process.join()


def _live(store: Store, inherited: Iterable[int], parent: int) -> None:
    """The whole life of the process."""
    kernel.end_with_parent()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    for fd in inherited:
        os.close(fd)
    if os.getppid() == parent:
        try:
            _serve(store)
        except Exception:
            log.exception("the scrub failed")
            raise


def _serve(store: Store) -> None:
    """Scrub until we are ended; not if somebody else does."""
    os.nice(_WORST)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    fd = os.open(store.path("stamps", "scrub.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        scrubber = Scrubber(store)
        while os.path.exists(store.path("format")):
            scrubber.work(time.monotonic() + _LOOK_EVERY_S)


class Scrubber:
    """What the process knows."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._scrub = Scrub(store)
        self._compared: set[str] = set()  # manifests whose blobs were looked at
        self._reading: Iterator[int] | None = None
        self._saved = time.monotonic()

    def work(self, until: float) -> None:
        """Look for what is new, then read at the rate that is asked for, until a moment of the monotonic clock."""
        use_what_is_there(self._store, log.error)
        if not (rate := read_scrub_state(self._store).rate):
            self.refresh()
            time.sleep(max(0.0, until - time.monotonic()))
            return
        self.look_at_mounts(rate)
        if self._reading is None and self._is_due():
            self._reading = self._scrub.read_pool()
        if self._reading is not None:
            if not _drive(self._reading, rate, until):
                self._reading = None
                self._scrub.save()
            elif time.monotonic() - self._saved >= _SAVE_EVERY_S:
                self._saved = time.monotonic()
                self._scrub.save()
            self.refresh()
        time.sleep(max(0.0, until - time.monotonic()))

    def _is_due(self) -> bool:
        ended = self._scrub.state.ended
        return not ended or (datetime.now(UTC) - datetime.fromisoformat(ended)).total_seconds() >= _READ_AGAIN_S

    def look_at_mounts(self, rate: int) -> None:
        """Compare the blobs of what is mounted with their stamps, as far as that was not done."""
        for name in sorted(_iter_shown(self._store)):
            with contextlib.suppress(CasfsError, OSError):  # fsck's business
                for layer in Environment(self._store, name).require().layers:
                    if layer.manifest not in self._compared:
                        _drive(self._scrub.compare(layer.manifest), rate, None)
                        self._compared.add(layer.manifest)
        self.refresh()

    def refresh(self) -> None:
        """Let new overlays take the place of those that may have a damaged blob open."""
        if os.geteuid() == 0 and read_losses(self._store).state:
            refresh_late_mounts(self._store, log.error)


def _drive(steps: Iterator[int], rate: int, until: float | None) -> bool:
    """Take steps at a rate in bytes per second, until a moment. Answers whether there may be more."""
    owed_s = 0.0
    for size in steps:
        owed_s += max(size, _CHEAP) / rate
        if owed_s >= _MOST_AT_ONCE_S:
            time.sleep(owed_s)
            owed_s = 0.0
        if until is not None and time.monotonic() >= until:
            return True
    return False


def _iter_shown(store: Store) -> set[str]:
    """The environments that are mounted."""
    return {record.environment for record in iter_mount_records(store)} | {
        lease.environment for lease in iter_leases(store) if lease.environment
    }

"""Descriptors of blobs: opened once, kept while there is room, never closed while a thread reads from one."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass

from casfs.digest import Digest
from casfs.store.blobs import BlobSource


@dataclass(slots=True)
class _Open:
    fd: int
    users: int = 0


class Descriptors:
    """At most `limit` open blobs, the least recently used one closed first. For one thread; the descriptors may be used by any."""

    def __init__(self, blobs: BlobSource, limit: int) -> None:
        self._blobs = blobs
        self._limit = limit
        self._open: dict[Digest, _Open] = {}  # least recently used first

    def __len__(self) -> int:
        return len(self._open)

    @contextlib.contextmanager
    def using(self, digest: Digest, size: int) -> Iterator[int]:
        """A descriptor of the blob that stays open until the end of the block. Raises StoreDamaged or OSError."""
        entry = self._open.pop(digest, None)
        if entry is None:
            self._evict(self._limit - 1)
            entry = _Open(self._open_blob(digest, size))
        self._open[digest] = entry
        entry.users += 1
        try:
            yield entry.fd
        finally:
            entry.users -= 1
            if len(self._open) > self._limit:  # more than that were in use at once
                self._evict(self._limit)

    def _open_blob(self, digest: Digest, size: int) -> int:
        try:
            return self._blobs.open_blob(digest, size)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._open:
                raise
        self._evict(len(self._open) // 2)
        return self._blobs.open_blob(digest, size)

    def _evict(self, keep: int) -> None:
        """Close the least recently used until at most `keep` are open; those in use stay."""
        surplus = len(self._open) - max(keep, 0)
        idle = [digest for digest, entry in self._open.items() if not entry.users]
        for digest in idle[: max(surplus, 0)]:
            os.close(self._open.pop(digest).fd)

    def close(self) -> None:
        """Close all that is idle."""
        self._evict(0)

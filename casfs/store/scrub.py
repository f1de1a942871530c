"""Scrub: the pool is read again while nobody asks, so that a blob that was changed, has rotted or is gone is found soon.

First come the blobs of what is mounted: each is compared with its stamp (`blob_stamps`), and one that differs is hashed. Then the pool is
read from end to end, again and again. A damaged blob is set aside (`quarantine`): whoever opens it from then on gets an error. The records
of the wheels that need it are withdrawn, so that adding such a wheel writes the blob anew. Blobs of shared pools are left to their stores.

    stamps/scrub.json    rate, and how far the reading is (`ScrubState`)

Whoever scrubs is told after each blob how much was read, and decides how long to rest. One process scrubs a store at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from casfs.digest import Digest, parse_digest
from casfs.errors import InvalidValue
from casfs.store.blob_stamps import blob_facts, hash_blob, new_stamps, read_blob_stat_cache, write_blob_stat_cache
from casfs.store.manifests import read_manifest
from casfs.store.quarantine import note_missing_blob, set_aside_blob, withdraw_wheels
from casfs.store.runtime_files import now_utc, write_record
from casfs.store.store import Store

DEFAULT_RATE = 10_000_000
"""Bytes per second: 100 GB in three hours, and a tenth or less of what any disk in use can read."""

_SHARDS = 256

first_rate: list[int] = []
"""The rate with which daemons that this process starts shall begin; empty: they go on with the store's."""


@dataclass(slots=True)
class ScrubState:
    """What the scrub of a store says of itself."""

    rate: int = DEFAULT_RATE  # bytes per second; 0: nobody scrubs
    position: int = 0  # so many of the pool's 256 directories have been read
    began: str = ""  # ISO 8601, UTC: the reading that is under way
    ended: str = ""  # the last whole reading
    bytes: int = 0  # read in all


def read_scrub_state(store: Store) -> ScrubState:
    """What was said last; the beginning, if nothing was."""
    with contextlib.suppress(OSError, ValueError, TypeError), open(store.path("stamps", "scrub.json"), encoding="utf-8") as file:
        return ScrubState(**json.load(file))
    return ScrubState()


class Scrub:
    """The scrub of a store. What it does at a time is one step of an iterator, which tells how many bytes were read."""

    def __init__(self, store: Store) -> None:
        self.state = read_scrub_state(store)
        self._store = store

    def save(self) -> None:
        """Let others read the state. The rate is theirs to say (`set_scrub_rate`)."""
        self.state.rate = read_scrub_state(self._store).rate
        with contextlib.suppress(OSError):  # a full disk
            write_record(self._store.path("stamps", "scrub.json"), dataclasses.asdict(self.state))

    def compare(self, manifest: Digest) -> Iterator[int]:
        """Look at the blobs of a manifest, and hash those that are not what their stamps say."""
        content, own = read_manifest(self._store, manifest), self._store.pool
        stamps, is_changed = read_blob_stat_cache(self._store.root, manifest) or new_stamps(), False
        for row in range(len(content.names)):
            digest, size = content.digest(row), content.sizes[row]
            facts = blob_facts(path := own.path(digest))
            if facts is not None and facts == stamps.facts(row):
                yield 0
            elif facts is None and not os.path.lexists(path):
                if own.find_shared(digest, size) is None:
                    is_news = note_missing_blob(self._store, path)
                    self._note_damage(path, is_news=is_news)
                yield 0
            else:
                if (found := self._hash(path, digest)) is not None:
                    stamps.remember(row, found)
                    is_changed = True
                yield size
        if is_changed:
            write_blob_stat_cache(self._store, manifest, stamps)

    def read_pool(self) -> Iterator[int]:
        """Read the rest of the pool, from where the one before has left off."""
        self.state.began = self.state.began or now_utc()
        while self.state.position < _SHARDS:
            directory = f"{self._store.pool.directory}/{self.state.position:02x}"
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                for name in sorted(os.listdir(directory)):
                    with contextlib.suppress(InvalidValue):  # not a blob: fsck's business
                        path, digest = f"{directory}/{name}", parse_digest(f"{self.state.position:02x}{name}")
                        self._hash(path, digest)
                        yield _size_of(path)
            self.state.position += 1
        self.state.began, self.state.ended, self.state.position = "", now_utc(), 0

    def _hash(self, path: str, digest: Digest) -> tuple[int, int, int, int, int] | None:
        """What a blob is that has the right bytes. One that has not is set aside; one that is gone was collected."""
        try:
            if (facts := hash_blob(path, digest)) is not None:
                self.state.bytes += facts[2]
                return facts
        except FileNotFoundError:
            return None
        except OSError:  # it can't be read, or is not a regular file
            pass
        if set_aside_blob(self._store, path):
            self._note_damage(path)
        return None

    def _note_damage(self, path: str, *, is_news: bool = True) -> None:
        withdraw_wheels(self._store, path)
        if is_news:
            _log_damage(path)


def set_scrub_rate(store: Store, rate: int) -> None:
    """Let the scrub of a store, now and later, read at most so many bytes per second."""
    state = read_scrub_state(store)
    write_record(store.path("stamps", "scrub.json"), {**dataclasses.asdict(state), "rate": rate})


def begin_with_scrub_rate(store: Store) -> None:
    """A daemon that begins sets the rate that was asked for when it was started, if one was (`first_rate`)."""
    for rate in first_rate:
        set_scrub_rate(store, rate)


def _size_of(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _log_damage(path: str) -> None:
    import logging

    logging.getLogger("casfs").error("%s: the blob is missing, or was damaged and is set aside; adding its wheels again restores it", path)

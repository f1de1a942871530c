"""Collection: what nothing needs goes, while everything else goes on.

First go records (what a wheel became, what a source or a manifest becomes with bytecode), then manifests, then blobs, with a sync between:
whatever is killed, and whenever the power fails, nothing that is left leads to what is gone.

What changes an environment or fills the pool shares a lock from its first look at the pool until what it made is published (see `shared`).
Collecting takes turns with them: in each turn it looks at what has come to be needed, and removes what is not needed then.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from casfs.errors import InvalidValue, StoreDamaged
from casfs.store.blob_stamps import STAMPS_SUFFIX
from casfs.store.bytecode import Compiled, parse_outcome, read_compiled_record
from casfs.store.collect.needed import Needed, iter_record_shards, iter_shard, iter_shards, iter_wheels
from casfs.store.environments import Environment
from casfs.store.generations import Generation
from casfs.store.publish import sync_file_system
from casfs.store.reliance import iter_environments
from casfs.store.shared import nothing_relying
from casfs.store.store import Store

_TURN_S = 0.5
"""Whoever wants to change the store waits so long at most, and for one shard of the pool (40,000 of 10 million blobs)."""

_BLOCK = 512  # bytes; the unit of st_blocks (stat(2))

Step = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be collected."""

    unused_wheels: bool = False  # also wheels that no generation has, which could be added again without their files
    keep: int | None = None  # of each environment that nobody sees only the newest so many generations; None: all
    is_dry: bool = False  # count, remove nothing


@dataclass(slots=True)
class Collected:
    """What was removed, or would be."""

    generations: int = 0
    wheels: int = 0
    manifests: int = 0
    twins: int = 0
    blobs: int = 0
    size: int = 0  # bytes on the disk
    kept: list[str] = field(default_factory=list)  # environments that keep all generations, since somebody sees them
    spare_wheels: int = 0  # wheels that no generation has, and that stay


class Derived(Protocol):
    """What somebody else makes of generations and manifests, and keeps in the store as directories."""

    def watch(self, generation: Generation) -> None:
        """A generation that stays."""

    def shards(self) -> list[str]:
        """Where such directories lie."""
        ...

    def find_unneeded(self, shard: str, has_manifest: Callable[[str], bool]) -> list[str]:
        """Those of one place that nothing needs."""
        ...


def collect(
    store: Store, wish: Wish, derived: Derived, find_seen: Callable[[], set[str]], tell_waiting: Callable[[], None] = lambda: None
) -> Collected:
    """Remove what nothing needs. `find_seen` names environments that somebody sees; `tell_waiting` is called when others must end first.

    Raises StoreRefused for a damaged store, and OSError; then what is left is whole, and the next collection goes on.
    """
    collection = _Collection(store, wish, derived, tell_waiting)
    collection.drop_generations(find_seen)
    collection.run()
    return collection.collected


class _Collection:
    def __init__(self, store: Store, wish: Wish, derived: Derived, tell_waiting: Callable[[], None]) -> None:
        self.collected = Collected()
        self._store = store
        self._wish = wish
        self._derived = derived
        self._tell_waiting = tell_waiting
        self._dropped: set[str] = set()
        self._needed = Needed(store, with_all_wheels=not wish.unused_wheels, is_dropped=self._dropped.__contains__, watch=derived.watch)

    def drop_generations(self, find_seen: Callable[[], set[str]]) -> None:
        """Do without generations as is wished. Whoever sees an environment may still use a file of each."""
        if self._wish.keep is None:
            return
        with nothing_relying(self._store, self._tell_waiting):
            seen = find_seen()
            for environment in iter_environments(self._store):
                if not (numbers := _older_numbers(environment, self._wish.keep)):
                    continue
                if environment.name in seen:
                    self.collected.kept.append(environment.name)
                    continue
                for number in numbers:
                    self.collected.generations += 1
                    self._dropped.add(environment.path(number))
                    self._remove(environment.index_path(number))  # derived: without it a generation is whole
                    self._remove(environment.path(number))

    def run(self) -> None:
        """Remove what nothing needs, in the order that leaves nothing that leads to what is gone."""
        self._needed.look()  # most of what there is to see, while others go on
        for steps in (self._iter_records, self._iter_manifests, self._iter_blobs):
            self._take_turns(steps())
            self._sync()

    def _take_turns(self, steps: Iterator[Step]) -> None:
        """Take all steps, each at a moment when nobody changes the store and all that is needed was seen."""
        step = next(steps, None)
        while step is not None:
            with nothing_relying(self._store, self._tell_waiting):
                self._needed.look()
                until = time.monotonic() + _TURN_S
                while step is not None:
                    step()
                    step = next(steps, None)
                    if time.monotonic() >= until:
                        break

    def _sync(self) -> None:
        fd = os.open(self._store.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not self._wish.is_dry:
                sync_file_system(fd)
        finally:
            os.close(fd)

    def _iter_records(self) -> Iterator[Step]:
        yield self._collect_wheels
        for kind, is_needed in (("manifests", self._is_compiled_needed), ("sources", self._is_source_needed)):
            for shard in iter_record_shards(self._store, kind):
                yield partial(self._collect_records, shard, is_needed)
        yield self._collect_stamps

    def _iter_manifests(self) -> Iterator[Step]:
        for shard in self._derived.shards():
            yield partial(self._collect_derived, shard)
        for shard in iter_shards(self._store.path("manifests")):
            yield partial(self._collect_manifests, shard)

    def _iter_blobs(self) -> Iterator[Step]:
        for shard in iter_shards(self._store.pool.directory):
            yield partial(self._collect_blobs, shard)

    def _collect_wheels(self) -> None:
        for path, wheel in iter_wheels(self._store):
            if not self._needed.has_wheel(wheel):
                self.collected.wheels += self._remove(path)
            elif wheel not in self._needed.wheels:
                self.collected.spare_wheels += 1

    def _collect_records(self, shard: str, is_needed: Callable[[str, str], bool]) -> None:
        for path, digest in iter_shard(shard):
            if not is_needed(path, digest):
                self._remove(path)

    def _is_compiled_needed(self, path: str, digest: str) -> bool:
        with contextlib.suppress(OSError, StoreDamaged, InvalidValue):
            return self._needed.has_manifest(digest) and self._needed.has_manifest(read_compiled_record(path))
        return False

    def _is_source_needed(self, path: str, digest: str) -> bool:
        """Whether what a source becomes is worth knowing."""
        with contextlib.suppress(OSError):
            outcome = parse_outcome(os.readlink(path))
            return self._needed.has_blob(digest) and (not isinstance(outcome, Compiled) or self._needed.has_blob(outcome.digest))
        return False

    def _collect_stamps(self) -> None:
        for name in os.listdir(self._store.path("stamps")):
            if name.endswith(STAMPS_SUFFIX) and not self._needed.has_manifest(name.removesuffix(STAMPS_SUFFIX)):
                self._remove(self._store.path("stamps", name))

    def _collect_derived(self, shard: str) -> None:
        if not (unneeded := self._derived.find_unneeded(shard, self._needed.has_manifest)):
            return
        self.collected.twins += len(unneeded)
        self.collected.size += sum(map(_tree_size, unneeded))
        if not self._wish.is_dry:
            with self._store.batch() as batch:  # what is in its directory ends with it
                for number, path in enumerate(unneeded):
                    os.rename(path, f"{batch.directory}/{number}")

    def _collect_manifests(self, shard: str) -> None:
        for path, digest in iter_shard(shard):
            if not self._needed.has_manifest(digest):
                self.collected.manifests += self._remove(path)

    def _collect_blobs(self, shard: str) -> None:
        for path, digest in iter_shard(shard):
            if not self._needed.has_blob(digest):
                self.collected.blobs += self._remove(path)

    def _remove(self, path: str) -> bool:
        """Whether there was something to remove."""
        try:
            size = os.lstat(path).st_blocks * _BLOCK
            if not self._wish.is_dry:
                os.unlink(path)
        except FileNotFoundError:
            return False
        self.collected.size += size
        return True


def _older_numbers(environment: Environment, keep: int) -> list[int]:
    """The generations of an environment but for the newest `keep` and the current one."""
    current = environment.current_number()
    return [number for number in environment.numbers()[:-keep] if number != current]


def _tree_size(path: str) -> int:
    """Bytes that a directory takes with all that is in it."""
    inside = (f"{directory}/{name}" for directory, directories, files in os.walk(path) for name in (*directories, *files))
    return sum(os.lstat(one).st_blocks * _BLOCK for one in (path, *inside))

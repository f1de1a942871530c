"""Collection: what nothing needs goes, while everything else goes on.

First go records (what a wheel became, what a source or a manifest becomes with bytecode), then manifests, then blobs, with a sync between:
whatever is killed, and whenever the power fails, nothing that is left leads to what is gone.

What changes an environment or fills the pool shares a lock from its first look at the pool until what it made is published (see `shared`).
Collecting takes turns with them: in each turn it looks at what has come to be needed, and removes what is not needed then. A record that
comes after its kind was collected stays, and so does what it leads to. A small store is done in one turn.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

from casfs.descriptors import closing_fd
from casfs.errors import InvalidValue, StoreDamaged, StoreRefused
from casfs.store.availability import iter_environments
from casfs.store.bytecode import Compiled, parse_outcome, read_compiled_record
from casfs.store.environments import Environment
from casfs.store.gc.needed import Needed, iter_record_shards, iter_shard, iter_shards, iter_wheels
from casfs.store.gc.removing import Remover
from casfs.store.installations import INSTALLED_SUFFIX, read_remembered
from casfs.store.kept import list_kept
from casfs.store.migration import OLD_RUN
from casfs.store.publish import naming, sync_file_system
from casfs.store.shared import exclusive_store_lock, follow_config
from casfs.store.store import Store

_TURN_S = 0.5
"""Whoever wants to change the store waits so long at most, and for one shard of the pool (40,000 of 10 million blobs) or a sync."""

_REST_S = 0.05
"""Between two turns: those who wait need a moment to wake up and take the lock."""

_STAMP_OF_MANIFEST = re.compile(r"[0-9a-f]{64}\..+")

_NO_LINK = (errno.ENOENT, errno.EINVAL)

Step = Callable[[], None]

HoldingSeen = Callable[[], AbstractContextManager[set[str]]]
"""Names of the environments that somebody sees. Within the block nobody comes to see another one."""


@dataclass(frozen=True, slots=True)
class CollectOptions:
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
    blobs: int = 0
    downloads: int = 0
    size: int = 0  # bytes on the disk
    kept: list[str] = field(default_factory=list)  # environments that keep all generations, since somebody sees them
    spare_wheels: int = 0  # wheels that no generation has, and that stay


def collect(store: Store, wish: CollectOptions, holding_seen: HoldingSeen) -> Collected:
    """Remove what nothing needs.

    Raises StoreRefused for a damaged store, and OSError; then what is left is whole, and the next collection goes on.
    """
    collection = _Collection(store, wish)
    collection.look_ahead(holding_seen)
    return collection.run(holding_seen)


class _Collection:
    def __init__(self, store: Store, wish: CollectOptions) -> None:
        self._collected = Collected()
        self._store = store
        self._wish = wish
        self._remover = Remover(store.root, is_dry=wish.is_dry)
        self._dropped: set[str] = set()  # generations that are there, and that nothing needs
        self._needed = Needed(store, with_all_wheels=not wish.unused_wheels, is_dropped=self._dropped.__contains__)

    def look_ahead(self, holding_seen: HoldingSeen) -> None:
        """See most of what there is to see, while others go on. What is damaged may be what somebody else collects: it is told later."""
        if self._wish.keep is not None:
            with holding_seen() as seen:
                self._choose_generations(seen)
        with contextlib.suppress(StoreRefused):
            self._needed.look()

    def _drop_generations(self, holding_seen: HoldingSeen) -> None:
        """Do without generations as is wished. Whoever sees an environment may still use a file of each."""
        with holding_seen() as seen:
            chosen = self._choose_generations(seen)
            self._needed.look()  # a damaged store keeps them all
            for environment, numbers in chosen:
                directory = f"{environment.directory}/generations"
                self._remover.remove_files(
                    directory, [f"{number}.index" for number in numbers]
                )  # derived: without it a generation is whole
                self._collected.generations += self._remover.remove_files(directory, [f"{one}.toml" for one in numbers])
            if not self._wish.is_dry:
                self._dropped.clear()  # what has such a name from now on is another one

    def _choose_generations(self, seen: set[str]) -> list[tuple[Environment, list[int]]]:
        """The generations of each environment that go, as is wished."""
        older = {one.name: (one, _older_numbers(one, self._wish.keep)) for one in iter_environments(self._store)}
        chosen = [(one, numbers) for one, numbers in older.values() if numbers and one.name not in seen]
        self._collected.kept = [one.name for one, numbers in older.values() if numbers and one.name in seen]
        self._dropped.clear()
        self._dropped.update(environment.path(number) for environment, numbers in chosen for number in numbers)
        return chosen

    def run(self, holding_seen: HoldingSeen) -> Collected:
        """Remove what nothing needs."""
        self._take_turns(self._iter_steps(holding_seen))
        self._collected.size = self._remover.size
        return self._collected

    def _iter_steps(self, holding_seen: HoldingSeen) -> Iterator[Step]:
        """All there is to do, in the order that leaves nothing that leads to what is gone."""
        if self._wish.keep is not None:
            yield partial(self._drop_generations, holding_seen)
        for steps in (self._iter_records, self._iter_manifests, self._iter_blobs):
            yield from steps()
            yield self._sync

    def _take_turns(self, steps: Iterator[Step]) -> None:
        """Take all steps, each at a moment when nobody changes the store and all that is needed was seen."""
        step = next(steps, None)
        while step is not None:
            with self._nobody_changing():
                self._needed.look()
                step = _take_steps(step, steps)
            if step is not None:
                time.sleep(_REST_S)

    @contextlib.contextmanager
    def _nobody_changing(self) -> Iterator[None]:
        with exclusive_store_lock(self._store):
            follow_config(self._store)
            yield

    def _sync(self) -> None:
        with closing_fd(os.open(self._store.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
            if not self._wish.is_dry:
                with naming(self._store.root):
                    sync_file_system(fd)

    def _iter_records(self) -> Iterator[Step]:
        yield self._collect_wheels
        for kind, is_needed in (("manifests", self._is_compiled_needed), ("sources", self._is_source_needed)):
            for shard in iter_record_shards(self._store, kind):
                yield partial(self._collect_records, shard, is_needed)
        yield self._collect_stamps
        yield self._collect_downloads
        yield self._collect_old_name

    def _iter_manifests(self) -> Iterator[Step]:
        for shard in iter_shards(self._store.path("manifests")):
            yield partial(self._collect_manifests, shard)

    def _iter_blobs(self) -> Iterator[Step]:
        for shard in iter_shards(self._store.pool.directory):
            yield partial(self._collect_blobs, shard)

    def _collect_wheels(self) -> None:
        wheels = [wheel for _, wheel in iter_wheels(self._store)]
        unneeded = [wheel for wheel in wheels if not self._needed.has_wheel(wheel)]
        self._collected.wheels += self._remover.remove_files(self._store.path("wheels"), unneeded)
        if not self._wish.is_dry:
            self._needed.keep_wheels()  # the record of one that comes later stays, so what it leads to must
        self._collected.spare_wheels = len({*wheels}.difference(unneeded, self._needed.wheels))

    def _collect_records(self, shard: str, is_needed: Callable[[str, str], bool]) -> None:
        self._remove_from(shard, lambda path, digest: not is_needed(path, digest))

    def _is_compiled_needed(self, path: str, digest: str) -> bool:
        with contextlib.suppress(FileNotFoundError, StoreDamaged, InvalidValue):
            return self._needed.has_manifest(digest) and self._needed.has_manifest(read_compiled_record(path))
        return False

    def _is_source_needed(self, path: str, digest: str) -> bool:
        """Whether what a source becomes is worth knowing."""
        try:
            outcome = parse_outcome(os.readlink(path))
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return False
        return self._needed.has_blob(digest) and (not isinstance(outcome, Compiled) or self._needed.has_blob(outcome.digest))

    def _collect_stamps(self) -> None:
        names = [name for name in os.listdir(self._store.path("stamps")) if _STAMP_OF_MANIFEST.fullmatch(name)]
        unneeded = [name for name in names if not self._is_stamp_needed(name)]
        self._remover.remove_files(self._store.path("stamps"), unneeded)

    def _is_stamp_needed(self, name: str) -> bool:
        if name.endswith(INSTALLED_SUFFIX):
            found = read_remembered(self._store.path("stamps", name))
            return found is not None and all(map(self._needed.has_manifest, found.manifests))
        return self._needed.has_manifest(name.partition(".")[0])

    def _collect_old_name(self) -> None:
        """Of a store's migration (see `migration`)."""
        if os.path.islink(path := self._store.path(OLD_RUN)) and not self._wish.is_dry:
            os.unlink(path)

    def _collect_downloads(self) -> None:
        """All of them: whoever fetches holds off collections, and has those that it goes on with elsewhere."""
        self._collected.downloads += self._remover.remove_files(self._store.path("downloads"), list_kept(self._store))

    def _collect_manifests(self, shard: str) -> None:
        self._collected.manifests += self._remove_from(shard, lambda path, digest: not self._needed.has_manifest(digest))

    def _collect_blobs(self, shard: str) -> None:
        self._collected.blobs += self._remove_from(shard, lambda path, digest: not self._needed.has_blob(digest))

    def _remove_from(self, shard: str, is_unneeded: Callable[[str, str], bool]) -> int:
        """How many files of a directory ab went: those of which it is said, by path and digest, that nothing needs them."""
        names = [os.path.basename(path) for path, digest in iter_shard(shard) if is_unneeded(path, digest)]
        return self._remover.remove_files(shard, names)


def _take_steps(step: Step, steps: Iterator[Step]) -> Step | None:
    """Take one turn's steps, at least one. The step to go on with."""
    until = time.monotonic() + _TURN_S
    going_on: Step | None = step
    while going_on is not None:
        going_on()
        going_on = next(steps, None)
        if time.monotonic() >= until:
            break
    return going_on


def _older_numbers(environment: Environment, keep: int | None) -> list[int]:
    """The generations of an environment but for the newest `keep` and the current one; none if that can't be told."""
    try:
        current = environment.current_number()
    except StoreDamaged:
        return []
    return [number for number in environment.numbers()[: -keep if keep else 0] if number != current]

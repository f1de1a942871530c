"""What a store needs: all that its generations, and the wheels that it can add again, lead to.

Generations lead to manifests and wheels, wheels to manifests, manifests to what they become with bytecode, and all of these to blobs.

What cannot be read may lead anywhere. So nothing is collected from a store in which a generation, or a manifest that one needs, is damaged.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sys
from array import array
from collections.abc import Callable, Iterator

from casfs.digest import Digest
from casfs.errors import InvalidValue, StoreDamaged, StoreRefused
from casfs.store.availability import iter_environments
from casfs.store.bytecode import read_compiled_record
from casfs.store.environments import Environment
from casfs.store.generations import NOTHING, parse_lock
from casfs.store.manifests import Manifest, read_manifest
from casfs.store.quarantine import read_wheel_record
from casfs.store.regular_file import read_plain_file
from casfs.store.store import Store

_WORDS = 4  # 64-bit words of a SHA-256
_KEY_BYTES = 8

_SECOND_NS = 1_000_000_000

_Facts = tuple[int, int]

_SHARD_LENGTH = 2
_DIGEST = re.compile("[0-9a-f]{64}")


class Needed:
    """What is needed, as far as `look` has seen. It only grows.

    Of a blob's digest 8 bytes are kept, which cost about 80 bytes of memory: of two blobs that share them neither goes.
    """

    def __init__(self, store: Store, *, with_all_wheels: bool, is_dropped: Callable[[str], bool]) -> None:
        """`with_all_wheels`: also wheels that no generation has. `is_dropped` tells by its path which generation does not count."""
        self.manifests: set[Digest] = set()  # whose blobs are needed
        self.wheels: set[str] = set()
        self._blobs: set[int] = set()
        self._store = store
        self._with_all_wheels = with_all_wheels
        self._is_dropped = is_dropped
        self._seen: dict[str, _Facts] = {}

    def look(self) -> None:
        """See what is needed, or what has come to be needed since the last look. Raises StoreRefused if something damaged is in the way."""
        try:
            for environment in iter_environments(self._store):
                self._look_at_environment(environment)
            self._look_at_wheels()
            while self._look_at_bytecode():  # what is compiled may be compiled for another level
                pass
        except (StoreDamaged, InvalidValue) as error:
            raise StoreRefused(self._store.root, f"nothing is collected from a damaged store: {error}; `casfs fsck` tells more") from None

    def keep_wheels(self) -> None:
        """From the next look on need every wheel that the store knows, though no generation has it."""
        self._with_all_wheels = True

    def has_blob(self, digest: str) -> bool:
        """Whether a blob is needed."""
        return int.from_bytes(bytes.fromhex(digest[: 2 * _KEY_BYTES]), sys.byteorder) in self._blobs

    def has_manifest(self, digest: str) -> bool:
        """Whether a manifest is needed."""
        return digest in self.manifests

    def has_wheel(self, digest: str) -> bool:
        """Whether the store should know a wheel."""
        return self._with_all_wheels or digest in self.wheels

    @contextlib.contextmanager
    def _new(self, path: str) -> Iterator[bool]:
        """Whether the file at `path` is there, and is another one than when it was looked at last. It is looked at in the block."""
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            yield False
            return
        facts = status.st_ino, status.st_ctime_ns
        yield (is_new := self._seen.get(path) != facts)
        if is_new and facts[1] % _SECOND_NS:  # where times are whole seconds, another file may have the same
            self._seen[path] = facts

    def _look_at_environment(self, environment: Environment) -> None:
        current, numbers = environment.current_number(), environment.numbers()
        for number in numbers:
            self._look_at_generation(environment, number)
        if current is not None and current not in numbers and current == environment.current_number():
            raise StoreDamaged(f"{environment.directory}/current", f"leads to generation {current}, which is missing")

    def _look_at_generation(self, environment: Environment, number: int) -> None:
        path = environment.path(number)
        if self._is_dropped(path):
            return
        with self._new(path) as is_new, contextlib.suppress(FileNotFoundError):  # the environment was removed just now
            if is_new:
                self._look_into(path, read_plain_file(path))

    def _look_into(self, path: str, lock: bytes) -> None:
        """The lock file is the truth; the index is derived from it."""
        try:
            generation = parse_lock(lock, lambda digest: NOTHING)
        except ValueError as error:
            raise StoreDamaged(path, str(error)) from None
        for layer in generation.layers:
            self._need(layer.manifest)
        self.wheels |= {distribution.wheel for distribution in generation.distributions}

    def _look_at_wheels(self) -> None:
        for path, wheel in iter_wheels(self._store):
            if self.has_wheel(wheel):
                with self._new(path) as is_new, contextlib.suppress(FileNotFoundError):  # it was removed just now
                    if is_new:
                        self._need(read_wheel_record(path))

    def _look_at_bytecode(self) -> bool:
        """Whether something came to be needed."""
        before = len(self.manifests)
        shards = iter_record_shards(self._store, "manifests")
        for path, digest in itertools.chain.from_iterable(map(iter_shard, shards)):
            if digest in self.manifests:
                with (
                    self._new(path) as is_new,
                    contextlib.suppress(FileNotFoundError, StoreDamaged, InvalidValue),
                ):  # then it is compiled again
                    if is_new:
                        self._need(read_compiled_record(path))
        return len(self.manifests) > before

    def _need(self, digest: Digest) -> None:
        if digest in self.manifests:
            return
        manifest = read_manifest(self._store, digest)
        self._need_blobs(manifest)
        self.manifests.add(digest)

    def _need_blobs(self, manifest: Manifest) -> None:
        try:
            words = array("Q", bytes.fromhex(manifest.digests))
        except ValueError:
            raise StoreDamaged(self._store.root, f"a manifest of {manifest.description.name} has strange digests") from None
        self._blobs.update(words[::_WORDS])


def iter_wheels(store: Store) -> Iterator[tuple[str, str]]:
    """(path, digest) of the record of each wheel that the store knows."""
    return ((store.path("wheels", name), name) for name in _names(store.path("wheels")) if _DIGEST.fullmatch(name))


def iter_record_shards(store: Store, kind: str) -> Iterator[str]:
    """Directories of what bytecode/ says of "manifests" or "sources", for every target."""
    for target in _names(store.path("bytecode")):
        yield from iter_shards(store.path("bytecode", target, kind))


def iter_shards(root: str) -> Iterator[str]:
    """The directories ab of a tree ab/cdef..."""
    return (f"{root}/{name}" for name in _names(root) if len(name) == _SHARD_LENGTH)


def iter_shard(path: str) -> Iterator[tuple[str, str]]:
    """(path, digest) of what is in a directory ab; what has no such name is left to fsck."""
    shard = os.path.basename(path)
    return ((f"{path}/{name}", shard + name) for name in _names(path) if _DIGEST.fullmatch(shard + name))


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []

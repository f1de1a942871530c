"""Reliance: which distributions an environment gets from one shared pool alone, and which no pool has any more."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from casfs.errors import EnvironmentRefused, InvalidValue, StoreDamaged
from casfs.store.environments import Environment
from casfs.store.generations import Distribution, Generation, Layer
from casfs.store.manifests import has_manifest, is_whole, read_manifest
from casfs.store.store import Store

WAY_OUT = "`casfs pool add` of the store that had them brings them back, and so does adding their wheels again"

_MOST_NAMED = 3


def require_available(environment: Environment, generation: Generation) -> None:
    """Raises EnvironmentRefused if a whole distribution, or what every environment has, is in no pool any more.

    This costs one system call for each manifest: a single blob that is gone is an error only for whoever reads it.
    """
    if absent := find_absent(environment.store, generation):
        raise EnvironmentRefused(environment.name, f"{absent} in no pool of the store any more; {WAY_OUT}")


def find_absent(store: Store, generation: Generation) -> str:
    """The distributions of which no pool has the list of files, as the beginning of a sentence; empty if there are none."""
    absent = [
        distribution
        for distribution in generation.distributions
        if not (_is_there(store, distribution.files) and _is_there(store, distribution.installation))
    ]
    if absent:
        return f"{format_names(absent)} {'is' if len(absent) == 1 else 'are'}"
    return "" if _has_all(store, generation.skeleton) else "what makes it a virtual environment is"


def _is_there(store: Store, layer: Layer) -> bool:
    """Whether a pool has the manifest. Where that comes from a shared pool, so do its blobs."""
    return has_manifest(store, layer.manifest)


def _has_all(store: Store, layer: Layer) -> bool:
    """Whether the pools have every blob of a layer. One whose manifest is damaged is not our business."""
    with contextlib.suppress(StoreDamaged):
        return is_whole(store, read_manifest(store, layer.manifest))
    return True


def format_names(distributions: list[Distribution]) -> str:
    """`Django 5.2.19, six 1.17.0 and 3 more`."""
    names = [f"{distribution.name} {distribution.version}" for distribution in distributions]
    if len(names) > _MOST_NAMED:
        names[_MOST_NAMED:] = [f"{len(names) - _MOST_NAMED} more"]
    return " and ".join([*filter(None, [", ".join(names[:-1])]), *names[-1:]])


def find_reliant(store: Store, pool: str) -> str:
    """The first environment that needs the shared pool `pool`, and what for, as a sentence; empty if none does.

    Every blob of every generation is looked at once. A pool that can't be reached is taken to have whatever the others lack.
    """
    need = _Need(store, pool)
    for environment in iter_environments(store):
        for generation in _iter_generations(environment):
            distributions = [
                distribution
                for distribution in generation.distributions
                if need.has(distribution.files) or need.has(distribution.installation)
            ]
            if distributions or need.has(generation.skeleton):
                which = "" if generation.number == environment.current_number() else f"generation {generation.number} of "
                return f"{which}environment {environment.name!r} needs it for {format_names(distributions) or 'what every environment has'}"
    return ""


class _Need:
    """Which manifests, or blobs of them, are in one shared pool and in no other pool."""

    def __init__(self, store: Store, pool: str) -> None:
        self._others = Store(store.root)
        self._others.rely_on([one for one in store.shared if one != pool])
        self._alone = Store(pool)
        self._is_reachable = os.path.isdir(f"{pool}/blobs")
        self._known: dict[str, bool] = {}

    def has(self, layer: Layer) -> bool:
        """Whether the layer would be incomplete without the pool."""
        if layer.manifest not in self._known:
            self._known[layer.manifest] = self._look(layer)
        return self._known[layer.manifest]

    def _look(self, layer: Layer) -> bool:
        if not _is_there(self._others, layer):
            return not self._is_reachable or _is_there(self._alone, layer)
        try:
            manifest = read_manifest(self._others, layer.manifest)
        except StoreDamaged:
            return False
        blobs = ((manifest.digest(row), manifest.sizes[row]) for row in range(len(manifest.names)))
        missing = [blob for blob in blobs if not self._others.pool.has_blob(*blob)]
        return any(not self._is_reachable or self._alone.pool.has_blob(*blob) for blob in missing)


def iter_environments(store: Store) -> Iterator[Environment]:
    """Every environment of the store, by name."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # fsck's business
        for name in sorted(os.listdir(store.path("environments"))):
            with contextlib.suppress(InvalidValue):
                yield Environment(store, name)


def _iter_generations(environment: Environment) -> Iterator[Generation]:
    """Its generations, the newest first; those that can't be read are left out."""
    for number in reversed(environment.numbers()):
        with contextlib.suppress(StoreDamaged):
            yield environment.read(number)

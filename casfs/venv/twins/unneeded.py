"""Twins that nothing needs: those of manifests that go, and the tops of generations that are gone."""

from __future__ import annotations

import os
from collections.abc import Callable

from casfs.store.generations import Generation
from casfs.store.store import Store
from casfs.venv.twins.twins import TOP_NAME, TOPS, TWIN_NAME, top_path


class UnneededTwins:
    """What a collection asks of twins (see `casfs.store.collect`)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tops: set[str] = set()

    def watch(self, generation: Generation) -> None:
        """The top of a generation that stays is needed."""
        self._tops.add(top_path(self._store, generation))

    def shards(self) -> list[str]:
        """Directories in which twins lie."""
        return [path for _, path in _entries(self._store.path("twins"))]

    def find_unneeded(self, shard: str, has_files: Callable[[str], bool]) -> list[str]:
        """Twins of one directory that nothing needs."""
        if os.path.basename(shard) == TOPS:
            return [path for name, path in _entries(shard) if TOP_NAME.fullmatch(name) and path not in self._tops]
        twins = ((TWIN_NAME.fullmatch(name), path) for name, path in _entries(shard))
        return [path for match, path in twins if match and not has_files(os.path.basename(shard) + match[1])]


def _entries(directory: str) -> list[tuple[str, str]]:
    """(name, path) of what is in a directory. What only root sees, only root removes."""
    try:
        return [(name, f"{directory}/{name}") for name in os.listdir(directory)]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []

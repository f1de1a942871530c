"""Collects in a store that has no twins, and of which nobody sees anything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from casfs.store.collect.collect import Collected, Wish, collect
from casfs.store.generations import Generation
from casfs.store.store import Store


class NothingDerived:
    """No twins."""

    def watch(self, generation: Generation) -> None: ...

    def shards(self) -> list[str]:
        return []

    def find_unneeded(self, shard: str, has_files: Callable[[str], bool]) -> list[str]:
        return []


@contextlib.contextmanager
def nobody_seeing() -> Iterator[set[str]]:
    yield set()


def collect_all(store: Store, *, unused_wheels: bool = True, tell_waiting: Callable[[], None] = lambda: None) -> Collected:
    return collect(store, Wish(unused_wheels, keep=1), NothingDerived(), nobody_seeing, tell_waiting)

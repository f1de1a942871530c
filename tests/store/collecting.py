"""Collects in a store of which nobody sees anything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from casfs.store.collect.collect import Collected, Wish, collect
from casfs.store.store import Store


@contextlib.contextmanager
def nobody_seeing() -> Iterator[set[str]]:
    yield set()


def collect_all(store: Store, *, unused_wheels: bool = True, tell_waiting: Callable[[], None] = lambda: None) -> Collected:
    return collect(store, Wish(unused_wheels, keep=1), nobody_seeing, tell_waiting)

"""Collects in a store of which nobody sees anything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from casfs.store import shared
from casfs.store.gc.gc import Collected, CollectOptions, collect
from casfs.store.store import Store


@contextlib.contextmanager
def nobody_seeing() -> Iterator[set[str]]:
    yield set()


@contextlib.contextmanager
def telling(tell_waiting: Callable[[], None]) -> Iterator[None]:
    """`tell_waiting` is called when a collection in the block must wait for others."""
    is_free_within = shared._is_free_within

    def tell(path: str, wait_s: float, stack: contextlib.ExitStack) -> bool:
        if not (is_free := is_free_within(path, wait_s, stack)):
            tell_waiting()
        return is_free

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shared, "_is_free_within", tell)
        yield


def collect_all(store: Store, *, unused_wheels: bool = True, tell_waiting: Callable[[], None] = lambda: None) -> Collected:
    """`tell_waiting` is called when others must end first."""
    with telling(tell_waiting):
        return collect(store, CollectOptions(unused_wheels, keep=1), nobody_seeing)

"""Quarantine: what was found damaged is set aside, so that adding the same wheels again restores it. Nothing of it is ever deleted."""

from __future__ import annotations

import contextlib
import itertools
import os

from casfs.store.store import Store


def set_aside(store: Store, path: str) -> str:
    """Move something to quarantine/, under its own path there. The path that it has now, below the store."""
    inside = f"quarantine/{os.path.relpath(path, store.root)}"
    names = itertools.chain([inside], (f"{inside}.{count}" for count in itertools.count(2)))
    target = next(name for name in names if not os.path.lexists(store.path(name)))
    with contextlib.suppress(FileExistsError):
        os.mkdir(store.path("quarantine"), 0o700)
    os.makedirs(os.path.dirname(store.path(target)), exist_ok=True)
    os.rename(path, store.path(target))
    return target


def count_set_aside(store: Store) -> int:
    """How many blobs were set aside in this store and in the shared ones behind it, as far as they may be looked at; mostly none.

    An overlay that was made before one of them may have opened it, and would go on to show it.
    """
    count = 0
    for root in (store.root, *store.shared):
        with contextlib.suppress(OSError):
            for shard in os.listdir(directory := f"{root}/quarantine/blobs"):
                with contextlib.suppress(OSError):
                    count += len(os.listdir(f"{directory}/{shard}"))
    return count

"""Unfinished changes: a command that is killed after it has published a generation, and before every mount shows it, leaves a mark.

The next command finishes the change. The mark is a file in run/ that is locked while its command lives, so looking for marks costs one
listing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from casfs.store.runtime_files import is_file_locked
from casfs.store.shared import shared_store_lock
from casfs.store.store import Store, open_new_lease

_PREFIX = "change-"


@contextlib.contextmanager
def changing(store: Store) -> Iterator[None]:
    """A change of what mounts show, from before it is published until every mount shows it. No shared pool is taken away meanwhile."""
    with shared_store_lock(store), _marked(store):
        yield


@contextlib.contextmanager
def _marked(store: Store) -> Iterator[None]:
    path = store.run_path(f"{_PREFIX}{os.urandom(6).hex()}")
    fd = open_new_lease(store, f"{path}.new")
    try:
        os.rename(f"{path}.new", path)  # nobody finds it unlocked while we live
        yield
    finally:
        for left in (path, f"{path}.new"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(left)
        os.close(fd)


def find_unfinished(store: Store) -> list[str]:
    """The marks of changes whose commands were killed. Whoever has finished these changes unlinks them."""
    names = [name for name in os.listdir(store.run_path()) if name.startswith(_PREFIX) and not name.endswith(".new")]
    # what can't be opened is finished, or somebody else's
    return [path for path in (store.run_path(name) for name in names) if is_file_locked(path) is False]

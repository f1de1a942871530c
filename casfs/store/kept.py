"""Kept downloads: what was fetched, whole or not, when a command was ended or failed. The next one that wants the file goes on with it.

A file in downloads/ is named by the digest that it should have once it is whole; whoever takes it compares. Taking is a rename, so of two
commands one gets it. `casfs collect` removes them all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from casfs.digest import Digest, parse_digest
from casfs.errors import FetchFailed, InvalidValue
from casfs.store.store import Store

_KEPT_BYTES = 8 << 30
"""What is kept in all: several of the largest wheels."""


def take_kept(store: Store, digest: Digest, path: str) -> None:
    """Move what there is of a file to `path`; nothing happens if there is nothing."""
    with contextlib.suppress(FileNotFoundError):
        os.rename(_path(store, digest), path)


@contextlib.contextmanager
def keeping_downloads(store: Store, directory: str) -> Iterator[None]:
    """If the block is interrupted, or can't fetch, what lies in directories of `directory` that are named by a digest is kept.

    Nothing is kept on a full disk, and nothing of a wheel that is refused.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, FetchFailed) or not isinstance(error, Exception):
            with contextlib.suppress(OSError):
                _keep(store, directory)
        raise


def list_kept(store: Store) -> list[str]:
    """The names of what is kept, the newest first."""
    try:
        with os.scandir(_path(store)) as entries:
            times = {entry.name: entry.stat(follow_symlinks=False).st_mtime_ns for entry in entries}
    except FileNotFoundError:
        return []
    return sorted(times, key=lambda name: -times[name])


def _keep(store: Store, directory: str) -> None:
    os.makedirs(_path(store), mode=0o700, exist_ok=True)
    for name in os.listdir(directory):
        with contextlib.suppress(InvalidValue):
            digest = parse_digest(name)
            for file in os.listdir(f"{directory}/{name}"):
                if os.path.getsize(found := f"{directory}/{name}/{file}"):
                    os.rename(found, _path(store, digest))
    left = _KEPT_BYTES
    for name in list_kept(store):
        path = _path(store, name)
        left -= os.lstat(path).st_size
        if left < 0:
            os.unlink(path)


def _path(store: Store, *names: str) -> str:
    return store.path("downloads", *names)

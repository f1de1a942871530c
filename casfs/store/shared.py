"""Shared pools: other stores that lie behind this one, read-only. Which they are is said by the store's config.toml alone:

    shared-pools = ["/srv/casfs"]

What a shared pool offers is what its own wheels/ lists: a manifest that no wheel of it is known for is not taken from it, whoever knows its
digest. Numbers, generations and environments are always the store's own, and nothing is ever written to a shared pool.

A change of an environment shares a lock on environments/ (flock(2)) until it is published: while it lasts no pool that it may rely on goes,
and nothing is collected.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence

from casfs.errors import CasfsError, StoreDamaged, StoreRefused
from casfs.store.plain import read_plain_file
from casfs.store.publish import naming
from casfs.store.store import FORMAT, Store

_KEY = "shared-pools"


def read_config(root: str) -> tuple[str, ...]:
    """Directories of the shared pools of a store, first to be asked first. Raises StoreRefused."""
    path = f"{root}/config.toml"
    try:
        content = read_plain_file(path)
    except FileNotFoundError:
        return ()
    except StoreDamaged as error:
        raise StoreRefused(path, *error.reasons) from None
    except OSError as error:
        raise StoreRefused(path, f"can't be read: {error.strerror}") from None
    return _parse_config(path, content)


def _parse_config(path: str, content: bytes) -> tuple[str, ...]:
    import tomllib  # 6 ms, and most stores have no config

    try:
        data = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise StoreRefused(path, f"is not TOML: {error}") from None
    if unknown := sorted(data.keys() - {_KEY}):
        raise StoreRefused(path, f"has the unknown key {unknown[0]!r}; this casfs knows only {_KEY!r}")
    pools = data.get(_KEY, [])
    if not isinstance(pools, list) or not all(isinstance(pool, str) and os.path.isabs(pool) for pool in pools):
        raise StoreRefused(path, f"{_KEY} must be a list of absolute paths")
    return tuple(pools)


def use_shared_pools(store: Store) -> None:
    """Let the store have the shared pools of its config behind it. Raises StoreRefused if one of them can't be used."""
    pools = read_config(store.root)
    for pool in pools:
        check_shared_pool(store, pool)
    store.rely_on(pools)


def use_what_is_there(store: Store, warn: Callable[[str], None]) -> None:
    """The same for whoever must go on: a shared pool that can't be used is named to `warn` and does without."""
    try:
        pools = read_config(store.root)
    except CasfsError as error:
        warn(str(error))
        return
    usable = []
    for pool in pools:
        try:
            check_shared_pool(store, pool)
            usable.append(pool)
        except StoreRefused as error:
            warn(str(error))
    if tuple(usable) != store.shared:
        store.rely_on(usable)


def check_shared_pool(store: Store, pool: str) -> None:
    """Refuse a directory that can't be a shared pool of the store. Raises StoreRefused."""
    try:
        os.stat(pool)
        content = read_plain_file(f"{pool}/format")
        for name in ("blobs", "manifests", "wheels"):
            os.close(os.open(f"{pool}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            os.stat(f"{pool}/{name}/.")  # a directory that can be listed may still not be entered
        is_same = os.path.samefile(pool, store.root)
    except FileNotFoundError as error:
        raise _refused(store, pool, f"{error.filename} is missing") from None
    except StoreDamaged as error:
        raise _refused(store, pool, str(error)) from None
    except OSError as error:
        raise _refused(store, pool, f"{error.filename} can't be read: {(error.strerror or '').lower()}") from None
    if content != FORMAT.encode():
        found = content.decode(errors="replace").strip()[:40]
        raise _refused(store, pool, f"it has the format {found!r}; this casfs knows only {FORMAT.strip()!r}")
    if is_same:
        raise _refused(store, pool, "that is the store itself")


def _refused(store: Store, pool: str, reason: str) -> StoreRefused:
    return StoreRefused(pool, f"can't be a shared pool of {store.root}: {reason}")


def add_shared_pool(store: Store, pool: str) -> bool:
    """Put a shared pool at the end of the config; whether it is new there. Raises StoreRefused if it can't be one."""
    check_shared_pool(store, pool)
    with _locked(store):
        pools = read_config(store.root)
        if missing := [other for other in read_config(pool) if other not in pools]:
            raise StoreRefused(pool, f"has a shared pool of its own behind it, {missing[0]}; add that one first")
        if pool in pools:
            return False
        _write_config(store, (*pools, pool))
        return True


def remove_shared_pool(store: Store, pool: str) -> None:
    """Take a shared pool out of the config. Raises StoreRefused if it is not there."""
    with _locked(store):
        pools = read_config(store.root)
        if pool not in pools:
            raise StoreRefused(pool, f"is not a shared pool of {store.root}; `casfs pool list` lists them")
        _write_config(store, [other for other in pools if other != pool])


@contextlib.contextmanager
def relying(store: Store) -> Iterator[None]:
    """The store has the shared pools of its config behind it, and none of them is taken out meanwhile. Raises StoreRefused as they may."""
    with _flocked(store.path("environments"), fcntl.LOCK_SH):
        follow_config(store)
        yield


def follow_config(store: Store) -> None:
    """Let the store have other shared pools behind it if its config says so now. Raises StoreRefused."""
    if tuple(store.shared) != read_config(store.root):
        use_shared_pools(store)


@contextlib.contextmanager
def nothing_relying(store: Store, tell_waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """No change is under way. Waits for those that are, which is told once, and new ones wait."""
    with _flocked(store.path("environments"), fcntl.LOCK_EX, tell_waiting):
        yield


def _write_config(store: Store, pools: Sequence[str]) -> None:
    import tomli_w

    with store.batch() as batch:
        batch.add(store.path("config.toml"), tomli_w.dumps({_KEY: list(pools)}).encode(), mode=0o644)
        batch.commit()


def _locked(store: Store) -> contextlib.AbstractContextManager[None]:
    """Hold the right to change the config."""
    return _flocked(store.root, fcntl.LOCK_EX)


@contextlib.contextmanager
def _flocked(directory: str, how: int, tell_waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with naming(directory):
            try:
                fcntl.flock(fd, how | fcntl.LOCK_NB)
            except BlockingIOError:
                tell_waiting()
                fcntl.flock(fd, how)
        yield
    finally:
        os.close(fd)

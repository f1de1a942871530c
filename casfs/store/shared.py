"""Shared pools: other stores that lie behind this one, read-only. Which they are is said by the store's config.toml alone:

    shared-pools = ["/srv/casfs"]

What a shared pool offers is what its own wheels/ lists: a manifest that no wheel of it is known for is not taken from it, whoever knows its
digest. Numbers, generations and environments are always the store's own, and nothing is ever written to a shared pool.

A change of an environment shares a lock (see `locking`) until it is published: while it lasts no pool that it may rely on goes, and nothing
is collected.
"""

from __future__ import annotations

import contextlib
import os
import time
from _thread import allocate_lock  # threading takes 3 ms, and is not needed for this
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from casfs.errors import CasfsError, StoreDamaged, StoreRefused
from casfs.store.locking import LockBusy, holding, say_waiting
from casfs.store.migration import FORMAT, OLD_FORMAT
from casfs.store.regular_file import read_plain_file
from casfs.store.store import Store

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
    """Use the shared pools, for whoever must go on: a shared pool that can't be used is named to `warn` and does without."""
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
    if content.decode(errors="replace") not in {FORMAT, OLD_FORMAT}:
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
def shared_store_lock(store: Store) -> Iterator[None]:
    """The store has the shared pools of its config behind it, and none of them is taken out meanwhile. Raises StoreRefused as they may.

    Within such a block of this process another one waits for nobody: who waits for the first to end would never see it.
    """
    with _counting:
        if (held := _held.get(store.root)) is None:
            held = _held[store.root] = _Held(contextlib.ExitStack())
            try:
                _enter_turn(store, held.stack)
            except BaseException:
                del _held[store.root]
                raise
        held.count += 1
    try:
        follow_config(store)
        yield
    finally:
        with _counting:
            held.count -= 1
            if not held.count:
                del _held[store.root]
                held.stack.close()


@dataclass(slots=True)
class _Held:
    """A lock that blocks of this process share."""

    stack: contextlib.ExitStack
    count: int = 0


_held: dict[str, _Held] = {}  # by store
_counting = allocate_lock()


def _enter_turn(store: Store, stack: contextlib.ExitStack) -> None:
    with holding(store.path("locks", "turn")):
        stack.enter_context(holding(store.path("locks", "changes"), is_shared=True))


def follow_config(store: Store) -> None:
    """Let the store have other shared pools behind it if its config says so now. Raises StoreRefused."""
    if tuple(store.shared) != read_config(store.root):
        use_shared_pools(store)


@contextlib.contextmanager
def exclusive_store_lock(store: Store) -> Iterator[None]:
    """No change is under way. Waits for those that are; new ones wait for a while, so that those that are come to an end."""
    with contextlib.ExitStack() as stack:
        _wait_for_changes(store, stack)
        yield


_FIRST_WAIT_S = 1.0
_LOOK_EVERY_S = 0.02


def _wait_for_changes(store: Store, stack: contextlib.ExitStack) -> None:
    """flock(2) has no queue: as long as some change is always under way, who waits for all to end would wait for ever.

    So the turn is held back from new ones, for longer each time; between, one that takes long lets the others go on.
    """
    path = store.path("locks", "changes")
    wait_s = _FIRST_WAIT_S
    while not _is_free_within(path, 0.0, stack):
        with holding(store.path("locks", "turn")):
            if _is_free_within(path, wait_s, stack):
                return
        say_waiting(path)
        time.sleep(_FIRST_WAIT_S)
        wait_s *= 2


def _is_free_within(path: str, wait_s: float, stack: contextlib.ExitStack) -> bool:
    """Whether a lock could be had within the time; it is held by the stack then."""
    until = time.monotonic() + wait_s
    while True:
        try:
            stack.enter_context(holding(path, may_wait=False))
        except LockBusy:
            if time.monotonic() >= until:
                return False
            time.sleep(_LOOK_EVERY_S)
        else:
            return True


def _write_config(store: Store, pools: Sequence[str]) -> None:
    import tomli_w

    with store.batch() as batch:
        batch.add(store.path("config.toml"), tomli_w.dumps({_KEY: list(pools)}).encode(), mode=0o644)
        batch.commit()


def _locked(store: Store) -> contextlib.AbstractContextManager[None]:
    """Hold the right to change the config."""
    return holding(store.path("locks", "config"))

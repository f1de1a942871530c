"""Removal: an environment goes with its generations and its upper layers, once nobody sees it any more. Manifests and blobs stay."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Iterator

from casfs.daemon.acknowledged_generations import AcknowledgedGenerations
from casfs.daemon.control import Request, ask_daemon, raise_problem
from casfs.errors import CasfsError, EnvironmentRefused
from casfs.mounts.environment_overlays import OLD_METADATA, find_overlay
from casfs.mounts.mounting import end_unused_overlays
from casfs.mounts.mountpoints import find_host, iter_shown, locked_mounts
from casfs.overlay.overlayfs import is_work_in_use
from casfs.store.availability import iter_environments
from casfs.store.environments import Environment
from casfs.store.gc.removing import Remover
from casfs.store.leases import iter_leases, iter_withdrawn_leases
from casfs.store.store import Store
from casfs.store.uppers import iter_uppers, remove_tree

_PATIENCE_S, _AGAIN_S = 2.0, 0.05  # the kernel lets go of an overlay a moment after its last mount has ended


def refuse_shown(environment: Environment) -> None:
    """Raises EnvironmentRefused if somebody sees the environment, or if there is none."""
    if not os.path.isdir(environment.directory):
        raise EnvironmentRefused(environment.name, "there is no environment of this name; `casfs env list` lists them")
    if shown := [where for name, where in iter_shown(environment.store) if name == environment.name]:
        ends = [f"`casfs umount {shlex.quote(where)}`" for where in shown if where.startswith("/") and " (in process " not in where]
        raise EnvironmentRefused(environment.name, f"is in use: {', '.join(shown)}" + (f"; first {', '.join(ends)}" if ends else ""))


def remove_environment(environment: Environment) -> None:
    """Remove the environment: all of it or, if this is refused, nothing. Raises EnvironmentRefused."""
    store = environment.store
    doomed = store.path("tmp", os.urandom(8).hex())
    with locked_mounts(store):
        refuse_shown(environment)
        if os.geteuid() == 0:
            end_unused_overlays(store)
            _refuse_used(environment)
        _let_host_forget(environment)
        with environment.locked():
            os.rename(environment.directory, doomed)
    with contextlib.suppress(FileNotFoundError):  # who publishes sweeps tmp/
        remove_tree(doomed)


def _refuse_used(environment: Environment) -> None:
    """Raises EnvironmentRefused while a process uses a mount that has ended, lazily or just now: it still sees the upper layer."""
    until = time.monotonic() + _PATIENCE_S
    while _is_used(environment):
        if time.monotonic() > until:
            raise EnvironmentRefused(environment.name, "is in use: some process is still in a mount of it that has ended")
        time.sleep(_AGAIN_S)


def _is_used(environment: Environment) -> bool:
    """Whether an overlay of the environment lives, though it may be mounted nowhere any more. Only root can tell."""
    return _count_overlays(environment) > 0


def _count_overlays(environment: Environment) -> int:
    """How many overlays of the environment live."""
    works = [work for upper in iter_uppers(environment) for work in upper.works()]
    if not works:
        return 0
    import tempfile

    with tempfile.TemporaryDirectory(dir=environment.store.path("tmp")) as spare:
        return sum(is_work_in_use(work, spare) for work in works)


@contextlib.contextmanager
def holding_seen(store: Store) -> Iterator[set[str]]:
    """Names of the environments that somebody sees, or may see still. Within the block no mount is made."""
    with locked_mounts(store):
        yield _find_seen(store)


def _find_seen(store: Store) -> set[str]:
    seen = {name for name, _ in iter_shown(store)} | set(_iter_known(store))
    if os.geteuid() == 0:
        seen |= {environment.name for environment in iter_environments(store) if environment.name not in seen and _may_be_used(environment)}
    return seen


def _iter_known(store: Store) -> Iterator[str]:
    """Environments that a living daemon has told the kernel of: a process may be in a mount of them that was ended lazily."""
    for lease in (*iter_leases(store), *iter_withdrawn_leases(store)):
        yield lease.environment
        yield from AcknowledgedGenerations(store, lease.id).numbers


def _may_be_used(environment: Environment) -> bool:
    """Whether it is used (`_is_used`), or that can't be told, as on a disk that is full or read-only."""
    try:
        return _is_used(environment)
    except OSError:
        return True


def remove_old_layers(store: Store, *, is_dry: bool) -> int:
    """Remove the directories that an earlier casfs mounted, unless some overlay has them still. Bytes that it frees."""
    if os.geteuid() != 0 or not os.path.isdir(store.path("twins")):
        return 0
    with locked_mounts(store):
        if any(_has_unknown_overlay(environment) for environment in iter_environments(store)):
            return 0
        remover = Remover(store.root, is_dry=is_dry)
        remover.remove_directories(store.root, ["twins"])
        return remover.size


def _has_unknown_overlay(environment: Environment) -> bool:
    """Whether more overlays of an environment live than are known to stand on images."""
    overlay = find_overlay(environment.store, environment.name)
    known = len(overlay.hidden_mounts) if overlay is not None and overlay.metadata != OLD_METADATA else 0
    try:
        return _count_overlays(environment) > known
    except OSError:
        return True


def _let_host_forget(environment: Environment) -> None:
    """Another environment of the name may come, with generations of the same numbers: the host must not take it for this one."""
    if (host := find_host(environment.store)) is None:
        return
    try:
        raise_problem(host, ask_daemon(environment.store, host, Request("forget", environment.name)))
    except CasfsError as error:
        reason = f"the daemon does not forget it ({'; '.join(error.reasons)}); `casfs daemon upgrade` may help"
        raise EnvironmentRefused(environment.name, reason) from None

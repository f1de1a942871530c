"""Recovery: before a command does its work, what daemons showed that died with all their processes is mounted again.

Only root's host and the daemons of whoever gives the command are looked after. Nothing else happens on the way: where nothing died it
costs a look at the store's leases.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from casfs.errors import CasfsError, MountRefused
from casfs.store.environments import Environment
from casfs.store.leases import (
    DEAD_LOG,
    Lease,
    has_mount_records,
    iter_dead_leases,
    lease_path,
    remove_dead_lease,
    sweep_leases,
    sweep_private_mounts,
)
from casfs.store.migration import OLD_RUN, RUN
from casfs.store.pending_changes import find_unfinished
from casfs.store.shared import use_shared_pools, use_what_is_there
from casfs.store.store import Store, open_store

if TYPE_CHECKING:  # only where something has died
    from casfs.daemon.start import Progress

Warn = Callable[[str], None]
"""Takes what went wrong that should be known."""


def recover_mounts(directory: str, warn: Warn) -> int:
    """Mount again what is dead, tidy up after those who died, and end a host whose last mount somebody ended by other means.

    `directory` is the store's, if there is one. Answers how many mounts came back.
    """
    names: set[str] = set()
    for run in (RUN, OLD_RUN):
        with contextlib.suppress(OSError):
            names.update(os.listdir(f"{directory}/{run}"))
    if names <= {DEAD_LOG}:
        return 0
    try:
        return _look_after(open_store(directory), warn)
    except (CasfsError, OSError) as error:
        warn(f"the mounts of a daemon that died were not mounted again: {error}")
        return 0


def _look_after(store: Store, warn: Warn) -> int:
    sweep_leases(store)
    sweep_private_mounts(store)
    dead = [lease for lease in iter_dead_leases(store) if _is_our_own(store, lease)]
    has_mounts = os.geteuid() == 0 and has_mount_records(store)
    if not dead and not has_mounts:
        return 0
    from casfs.mounts.mountpoints import find_host, follow_mounts, forget_gone_mounts, locked_mounts

    count = 0
    if has_mounts:
        follow_mounts(store)
    if dead or find_host(store) is None:
        from casfs.mounts.hosts import start_beside
        from casfs.mounts.mounting import end_unused_overlays

        use_what_is_there(store, warn)
        with locked_mounts(store):
            count = _recover_mounts(store, warn) + _recover_daemons(store, warn)
            if os.geteuid() == 0:
                forget_gone_mounts(store)
                end_unused_overlays(store)  # those of mounts that did not come back, as after a start of the machine
        start_beside(store)  # what looked after the mounts that no daemon need serve
    if has_mounts and (marks := find_unfinished(store)):
        _finish_moves(store, warn)
        for mark in marks:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(mark)
    return count


def _finish_moves(store: Store, warn: Warn) -> None:
    """Move mounts on that a command which was killed has left at a generation or an upper layer that is not current."""
    from casfs.mounts.environment_overlays import heal_overlays
    from casfs.mounts.hosts import host_on_demand
    from casfs.mounts.mounting import find_late, move_mounts
    from casfs.mounts.mountpoints import locked_mounts

    use_what_is_there(store, warn)
    with locked_mounts(store), host_on_demand(store, warn) as require_host:
        for environment in find_late(store):
            for record, reason in move_mounts(store, require_host, environment):
                warn(f"{record.path}: {reason}; it may still show the generation before")
        heal_overlays(store)


def _is_our_own(store: Store, lease: Lease) -> bool:
    """Whether a lease was taken by the user who gives this command."""
    try:
        return os.stat(lease_path(store, lease.id)).st_uid == os.geteuid()
    except FileNotFoundError:
        return False


def _recover_mounts(store: Store, warn: Warn) -> int:
    """Let a host show what one before it showed, if any of it is still a mount. Answers how many mounts came back."""
    from casfs.mounts.hosts import required_host, revive
    from casfs.mounts.mounting import find_lost_mounts
    from casfs.mounts.mountpoints import find_host, iter_mount_records

    host = find_host(store)
    lost = find_lost_mounts(store, host.id if host else "") if os.geteuid() == 0 else []
    if not lost:
        return 0
    with required_host(store, warn) as host:
        revive(store, host, warn)
    back = {(record.path, record.namespace) for record in iter_mount_records(store)}
    return sum((record.path, record.namespace) in back for record in lost)


def _recover_daemons(store: Store, warn: Warn) -> int:
    """Mount again, one by one, what daemons of single mounts showed. Answers how many came back."""
    from casfs.daemon.start import start_process

    count = 0
    for lease in [lease for lease in iter_dead_leases(store) if _is_our_own(store, lease)]:
        if _remove_dead(store, lease) and lease.environment:
            try:
                start_process(lease.mountpoint, functools.partial(_serve_again, store, lease))
                count += 1
            except MountRefused as error:
                warn(f"{error}")
    return count


def _serve_again(store: Store, lease: Lease, progress: Progress) -> None:
    from casfs.mounts.serving import serve
    from casfs.store.availability import require_available

    use_shared_pools(store)
    environment = Environment(store, lease.environment)
    require_available(environment, environment.require())
    serve(store, environment.name, lease.mountpoint, progress)


def remove_dead_daemons(store: Store) -> None:
    """Clear away what daemons that died have left, and bring nothing back."""
    for lease in iter_dead_leases(store):
        _remove_dead(store, lease)
    sweep_leases(store)


def _remove_dead(store: Store, lease: Lease) -> bool:
    """Clear away what a daemon that died has left. Answers whether it was still a mount, though a dead one."""
    from casfs.overlay.mountinfo import detach, find_mount, is_dead, is_ours

    is_mounted = is_dead(lease.mountpoint) and is_ours(find_mount(lease.mountpoint))
    if is_mounted:
        detach(lease.mountpoint)
    if not lease.environment:
        with contextlib.suppress(OSError):
            os.rmdir(lease.mountpoint)
    what = f"the daemon of {lease.mountpoint}" if lease.environment else "the daemon"
    remove_dead_lease(store, lease, f"{what} had died with all its processes (it began as process {lease.pid})")
    return is_mounted

"""Comeback: before a command does its work, what daemons showed that died with all their processes is mounted again.

Only root's host and the daemons of whoever gives the command are looked after. Nothing else happens on the way: where nothing died it
costs a look at the store's leases.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os

from casfs.cli.context import store_directory
from casfs.cli.output import format_count, note, warn
from casfs.errors import CasfsError
from casfs.store.environments import Environment
from casfs.store.leases import Lease, bury_lease, iter_dead_leases, lease_path, sweep_leases
from casfs.store.private import sweep_private_mounts
from casfs.store.reliance import require_present
from casfs.store.shared import use_shared_pools, use_what_is_there
from casfs.store.store import Store, open_store
from casfs.store.unfinished import find_unfinished


def bring_back_mounts(arguments: argparse.Namespace) -> None:
    """Mount again what is dead, tidy up after those who died, and end a host whose last place somebody unmounted by other means."""
    try:
        names = os.listdir(f"{store_directory(arguments)}/leases")
    except OSError:
        return
    if any(name != "dead.log" for name in names):
        try:
            _look_after(open_store(store_directory(arguments)))
        except (CasfsError, OSError) as error:
            warn(f"the mounts of a daemon that died were not mounted again: {error}")
        except SystemExit:  # of a daemon that could not start, and has said why
            warn("the mounts of a daemon that died were not mounted again")


def _look_after(store: Store) -> None:
    sweep_leases(store)
    sweep_private_mounts(store)
    dead = [lease for lease in iter_dead_leases(store) if _is_our_own(store, lease)]
    has_places = os.geteuid() == 0 and any(name.endswith(".place") for name in os.listdir(store.path("leases")))
    if not dead and not has_places:
        return
    from casfs.mount.places import find_host, follow_places, locked_places

    if has_places:
        follow_places(store)
    if dead or find_host(store) is None:
        from casfs.cli.hosts import start_beside
        from casfs.mount.places import forget_gone_places
        from casfs.mount.placing import end_unused_overlays

        use_what_is_there(store, warn)
        with locked_places(store):
            count = _bring_back_places(store) + _bring_back_leases(store)
            if os.geteuid() == 0:
                forget_gone_places(store)
                end_unused_overlays(store)  # those of places that did not come back, as after a start of the machine
        start_beside(store)  # what looked after the mounts that no daemon need serve
        if count:
            note(f"casfs: the daemon had died; {format_count(count, 'mount')} came back")
    if has_places and (marks := find_unfinished(store)):
        _finish_moves(store)
        for mark in marks:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(mark)


def _finish_moves(store: Store) -> None:
    """Move places on that a command which was killed has left at a generation or an upper layer that is not current."""
    from casfs.cli.hosts import host_on_demand
    from casfs.mount.overlays import heal_overlays
    from casfs.mount.places import locked_places
    from casfs.mount.placing import find_late, move_places

    use_what_is_there(store, warn)
    with locked_places(store), host_on_demand(store) as require_host:
        for environment in find_late(store):
            for place, reason in move_places(store, require_host, environment):
                warn(f"{place.path}: {reason}; it may still show the generation before")
        heal_overlays(store)


def _is_our_own(store: Store, lease: Lease) -> bool:
    """Whether a lease was taken by the user who gives this command."""
    try:
        return os.stat(lease_path(store, lease.id)).st_uid == os.geteuid()
    except FileNotFoundError:
        return False


def _bring_back_places(store: Store) -> int:
    """Let a host show what one before it showed, if any of it is still a mount. Answers how many mounts came back."""
    from casfs.cli.hosts import required_host, revive
    from casfs.mount.places import find_host, iter_places
    from casfs.mount.placing import find_lost_places

    host = find_host(store)
    lost = find_lost_places(store, host.id if host else "") if os.geteuid() == 0 else []
    if not lost:
        return 0
    with required_host(store) as host:
        revive(store, host)
    back = {(place.path, place.namespace) for place in iter_places(store)}
    return sum((place.path, place.namespace) in back for place in lost)


def _bring_back_leases(store: Store) -> int:
    """Mount again, one by one, what daemons of single mounts showed. Answers how many came back."""
    from casfs.cli.serving import start_process

    count = 0
    for lease in [lease for lease in iter_dead_leases(store) if _is_our_own(store, lease)]:
        if _bury(store, lease) and lease.environment:
            count += start_process(functools.partial(_serve_again, store, lease)) == 0
    return count


def _serve_again(store: Store, lease: Lease, ready_fd: int) -> None:
    from casfs.cli.serving import serve_here

    use_shared_pools(store)
    environment = Environment(store, lease.environment)
    require_present(environment, environment.require())
    serve_here(store, environment.name, lease.mountpoint, ready_fd)


def bury_dead_daemons(store: Store) -> None:
    """Clear away what daemons that died have left, and bring nothing back."""
    for lease in iter_dead_leases(store):
        _bury(store, lease)
    sweep_leases(store)


def _bury(store: Store, lease: Lease) -> bool:
    """Clear away what a daemon that died has left. Answers whether it was still a mount, though a dead one."""
    from casfs.mount.mounts import detach, find_mount, is_dead, is_ours

    is_mounted = is_dead(lease.mountpoint) and is_ours(find_mount(lease.mountpoint))
    if is_mounted:
        detach(lease.mountpoint)
    if not lease.environment:
        with contextlib.suppress(OSError):
            os.rmdir(lease.mountpoint)
    what = f"the daemon of {lease.mountpoint}" if lease.environment else "the daemon"
    bury_lease(store, lease, f"{what} had died with all its processes (it began as process {lease.pid})")
    return is_mounted

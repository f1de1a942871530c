"""Showing: how the mounts of an environment come to show what a command has changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from casfs.cli.output import warn
from casfs.errors import CasfsError
from casfs.store.environments import Environment

if TYPE_CHECKING:  # most commands look at no daemon
    from casfs.store.leases import Lease


def tell_daemons(environment: Environment) -> None:
    """Let every mount of the environment show its current generation and upper layer before the command returns."""
    from casfs.store.leases import iter_leases

    _move_places(environment)
    leases = [lease for lease in iter_leases(environment.store) if lease.environment in (environment.name, "")]
    for lease in leases:  # the daemon of one mount, or the host of many
        from casfs.mount.control import switch_generation

        try:
            switch_generation(environment.store, lease, environment.name)
        except CasfsError as error:
            for path in _places_of(environment, lease):
                _warn_of_old(path, "; ".join(error.reasons))


def _move_places(environment: Environment) -> None:
    """What the kernel shows without asking a daemon is mounted anew."""
    if os.geteuid() != 0 or not any(name.endswith(".place") for name in os.listdir(environment.store.path("leases"))):
        return
    from casfs.cli.hosts import host_on_demand
    from casfs.mount.places import locked_places
    from casfs.mount.placing import move_places
    from casfs.store.quarantine import read_losses

    try:
        with locked_places(environment.store), host_on_demand(environment.store) as require_host:
            failed = move_places(environment.store, require_host, environment.name)
    except CasfsError as error:
        warn(f"{error}; its mounts may still show the generation before")
        return
    if read_losses(environment.store).state:  # what was restored may be shown by others as well
        from casfs.mount.scrubber import refresh_mounts

        refresh_mounts(environment.store, warn)
    for place, reason in failed:
        _warn_of_old(place.path, reason)


def _warn_of_old(path: str, reason: str) -> None:
    warn(f"{path}: {reason}; it may still show the generation before")


def _places_of(environment: Environment, lease: Lease) -> list[str]:
    """Where a daemon shows the environment: the mounts of the kernel are what a user knows, not the private one of a host."""
    if lease.environment:
        return [lease.mountpoint]
    from casfs.mount.places import iter_places

    places = [place for place in iter_places(environment.store) if place.host == lease.id]
    return [place.path for place in places if place.environment == environment.name]

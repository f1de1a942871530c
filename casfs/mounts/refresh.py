"""Refresh: how the mounts of an environment come to show what a change has made of it."""

from __future__ import annotations

import os
from collections.abc import Callable

from casfs.errors import CasfsError
from casfs.store.environments import Environment
from casfs.store.leases import Lease, has_mount_records, iter_leases
from casfs.store.uppers import current_upper


def refresh_mounts(environment: Environment, warn: Callable[[str], None]) -> None:
    """Let every mount of an environment show its current generation and upper layer; `warn` takes what could not.

    1. What the kernel shows without asking a daemon is mounted anew, atomically.
    2. Each daemon that shows the environment is told to switch.
    """
    _move_mounts(environment, warn)
    leases = [lease for lease in iter_leases(environment.store) if lease.environment in (environment.name, "")]
    for lease in leases:  # the daemon of one mount, or the host of many
        from casfs.daemon.control import switch_generation

        try:
            switch_generation(environment.store, lease, environment.name)
        except CasfsError as error:
            for path in _mounts_of(environment, lease):
                warn(f"{path}: {'; '.join(error.reasons)}; it may still show the generation before")


def refresh_after_change(environment: Environment, warn: Callable[[str], None]) -> None:
    """Let the mounts show the current generation, and no bytecode of what went with the one before."""
    refresh_mounts(environment, warn)
    if (upper := current_upper(environment)) is None or upper.is_empty or os.geteuid() != 0:
        return
    from casfs.mounts.environment_overlays import find_overlay
    from casfs.upper.stale_bytecode import find_stale_bytecode, remove_below, tidy_upper

    if stale := find_stale_bytecode(environment):
        if (overlay := find_overlay(environment.store, environment.name)) is not None:
            remove_below(overlay.hidden_mount, stale)
        else:
            tidy_upper(environment)


def _move_mounts(environment: Environment, warn: Callable[[str], None]) -> None:
    if os.geteuid() != 0 or not has_mount_records(environment.store):
        return
    from casfs.mounts.hosts import host_on_demand
    from casfs.mounts.mounting import move_mounts, refresh_late_mounts
    from casfs.mounts.mountpoints import locked_mounts
    from casfs.store.quarantine import read_losses

    try:
        with locked_mounts(environment.store), host_on_demand(environment.store, warn) as require_host:
            failed = move_mounts(environment.store, require_host, environment.name)
    except CasfsError as error:
        warn(f"{error}; its mounts may still show the generation before")
        return
    if read_losses(environment.store).state:  # what was restored may be shown by others as well
        refresh_late_mounts(environment.store, warn)
    for record, reason in failed:
        warn(f"{record.path}: {reason}; it may still show the generation before")


def _mounts_of(environment: Environment, lease: Lease) -> list[str]:
    """Where a daemon shows the environment: the mounts of the kernel are what a user knows, not the private one of a host."""
    if lease.environment:
        return [lease.mountpoint]
    from casfs.mounts.mountpoints import iter_mount_records

    records = [record for record in iter_mount_records(environment.store) if record.host == lease.id]
    return [record.path for record in records if record.environment == environment.name]

"""What a private mount has in the store and beside it: a lease, a mountpoint, and an environment if one was made for it alone."""

from __future__ import annotations

import contextlib
import os

from casfs.store.environments import Environment
from casfs.store.leases import Lease, forget_lease, iter_dead_private_leases
from casfs.store.store import Store
from casfs.store.uppers import remove_tree

_FIRST = 1  # number of an environment's first generation


def private_lease(lease_id: str, directory: str, started: str, environment: str = "", generation: int = _FIRST) -> Lease:
    """A lease for a private mount that this process makes; without an environment's name it is for one that is yet to be made for it."""
    return Lease(lease_id, os.getpid(), environment or own_environment(lease_id), directory, started, generation)


def own_environment(lease_id: str) -> str:
    """Name of an environment that goes with a lease."""
    return f"run-{lease_id}"


def clear_private_mount(store: Store, lease: Lease) -> None:
    """Remove what a private mount leaves when it has ended."""
    with contextlib.suppress(OSError):
        os.rmdir(lease.mountpoint)
    if lease.environment == own_environment(lease.id):
        doomed = store.path("tmp", lease.environment)
        with contextlib.suppress(OSError):  # it is not there, or somebody else removes it
            os.rename(Environment(store, lease.environment).directory, doomed)
            remove_tree(doomed)


def sweep_private_mounts(store: Store) -> None:
    """Clear away private mounts of which every process was killed."""
    for lease in iter_dead_private_leases(store):
        clear_private_mount(store, lease)
        forget_lease(store, lease)

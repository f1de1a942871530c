"""Unmounting: a mount ends, then what served it."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Sequence

from casfs.errors import MountRefused
from casfs.mounts.hosts import END_WAIT_S, end_idle_host
from casfs.mounts.mounting import end_mount_inside
from casfs.mounts.mountpoints import MountRecord, find_mount_record, follow_mounts, forget_mount, iter_mount_records, locked_mounts
from casfs.mounts.other_namespace import is_ours_in, unmount_from
from casfs.mounts.recovery import remove_dead_daemons
from casfs.overlay.mountinfo import detach, find_mount, is_dead, is_ours, unmount
from casfs.store.leases import iter_leases
from casfs.store.store import Store


def umount(store: Store | None, path: str, *, is_lazy: bool) -> None:
    """End the mount at a path; without a store, one of another store. Raises MountRefused.

    1. With the mounts locked the kernel's mount ends, and its record.
    2. What served it is let go: the overlay, the image, a host that shows nothing any more (`end_idle_host`).
    3. Unless lazily, return when all of that is gone.
    """
    _end(store, path, is_lazy=is_lazy)
    if store is not None:
        _tidy(store, [path], is_lazy=is_lazy)


def umount_inside(store: Store, path: str, namespace: int, pid: int, *, is_lazy: bool) -> None:
    """End the mount that process `pid` sees at a path in its mount namespace. Raises MountRefused."""
    record = find_mount_record(store, path, namespace)
    if record is not None:
        _end_inside(store, record, is_lazy=is_lazy)
    elif is_ours_in(pid, path):
        unmount_from(pid, path, is_lazy=is_lazy)
    else:
        raise MountRefused(f"{path} of process {pid}", "is not a mount of casfs")
    end_idle_host(store, is_lazy=is_lazy)


def umount_all(store: Store, *, is_lazy: bool) -> None:
    """End every mount of a store; one that is busy keeps no other. Raises MountRefused that names those that were."""
    remove_dead_daemons(store)
    if os.geteuid() == 0:
        follow_mounts(store)
    inside = [record for record in iter_mount_records(store) if record.namespace]
    paths = [record.path for record in iter_mount_records(store) if not record.namespace]
    paths += [lease.mountpoint for lease in iter_leases(store) if lease.environment]
    ends = [functools.partial(_end_inside, store, record, is_lazy=is_lazy) for record in inside]
    ends += [functools.partial(_end, store, path, is_lazy=is_lazy) for path in paths]
    refused: list[MountRefused] = []
    for end in ends:
        try:
            end()
        except MountRefused as error:
            refused.append(error)
    _tidy(store, paths, is_lazy=is_lazy)
    if len(refused) == 1:
        raise refused[0]
    if refused:
        raise MountRefused("umount", *map(str, refused))


def _end(store: Store | None, path: str, *, is_lazy: bool) -> None:
    """Nobody mounts there anew before the record is gone."""
    with locked_mounts(store) if store else contextlib.nullcontext():
        record = find_mount_record(store, path) if store else None
        if is_ours(find_mount(path)):
            if is_lazy or is_dead(path):
                detach(path)
            else:
                unmount(path)
        elif record is None:
            raise MountRefused(path, "is not a mount of casfs")
        if store is not None and record is not None:
            forget_mount(store, record)


def _end_inside(store: Store, record: MountRecord, *, is_lazy: bool) -> None:
    with locked_mounts(store):
        end_mount_inside(store, record, is_lazy=is_lazy)


def _tidy(store: Store, paths: Sequence[str], *, is_lazy: bool) -> None:
    """Let go what served mounts that have ended; unless lazily, return when it is gone, so that nothing is left behind."""
    end_idle_host(store, is_lazy=is_lazy)
    until = time.monotonic() + END_WAIT_S
    while not is_lazy and any(lease.mountpoint in paths for lease in iter_leases(store)) and time.monotonic() < until:
        time.sleep(0.005)

"""Placing: how environments come to be seen at paths, how a path moves on to another generation, and how it comes back after a death.

Where the kernel can, a mount shows the environment's overlay (see `environment_overlays`); else our own file system, read-only, which
changes beneath it when the generation does. A mount on an overlay moves on to the next one atomically: the new mount is attached beneath
the old one, which is then taken away (MOVE_MOUNT_BENEATH of move_mount(2), Linux 6.5). Whoever has files open goes on with the old one.

Call all of this with the mounts locked, but for `find_late` and `refresh_late_mounts`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from dataclasses import replace

from casfs.descriptors import closing_fd
from casfs.errors import CasfsError, MountRefused
from casfs.mounts.environment_overlays import (
    end_lost,
    end_overlay,
    find_overlay,
    is_current,
    iter_overlays,
    iter_remembered_overlays,
    require_overlay,
)
from casfs.mounts.mountpoints import (
    KERNEL,
    PLAIN,
    MountRecord,
    find_host,
    forget_mount,
    here,
    iter_mount_records,
    locked_mounts,
    write_mount_record,
)
from casfs.mounts.other_namespace import is_ours_in, mount_into, move_into, unmount_from
from casfs.mounts.overlay_layers import RequireHost, explain
from casfs.overlay import kernel
from casfs.overlay.hidden_mounts import make_private_directory
from casfs.overlay.mountinfo import attach, detach, find_mount, is_dead, is_ours, iter_mounts, prepare_mountpoint
from casfs.store.environments import Environment
from casfs.store.leases import Lease
from casfs.store.store import Store
from casfs.store.uppers import current_upper


def make_mount(store: Store, require_host: RequireHost, record: MountRecord) -> MountRecord:
    """Let the environment appear at the record's path, and remember it. Answers the record as it came to be. Raises MountRefused."""
    mount_fd, made = _open_mount(store, require_host, record)
    with closing_fd(mount_fd):
        if record.namespace:
            mount_into(record.pid, record.path, mount_fd)
        else:
            prepare_mountpoint(record.path)
            attach(mount_fd, record.path)
    try:
        write_mount_record(store, made)
    except BaseException:
        with contextlib.suppress(MountRefused, OSError):
            _detach(made)
        raise
    return made


def _open_mount(store: Store, require_host: RequireHost, record: MountRecord) -> tuple[int, MountRecord]:
    """A detached mount to attach at the record's path, and the record as it will be. Raises MountRefused."""
    why = "it was asked for"
    if record.data_path != PLAIN:
        refuse_other_owner(store, record)
        try:
            overlay = require_overlay(store, require_host, Environment(store, record.environment), (record.uid, record.gid))
            mount_fd = kernel.clone_mount(overlay.hidden_mount)
            if record.is_read_only:
                kernel.set_read_only(f"/proc/self/fd/{mount_fd}", is_read_only=True)
            return mount_fd, replace(record, host=overlay.host, overlay=overlay.id, why="")
        except (MountRefused, OSError) as error:
            why = explain(error) if isinstance(error, OSError) else "; ".join(error.reasons)
            if record.data_path == KERNEL:
                raise MountRefused(record.path, f"the kernel's data path can't be used: {why}") from None
            refuse_to_hide(store, record, why)
    from casfs.daemon.control import Request, ask_daemon, raise_problem

    host = require_host()
    reply = ask_daemon(store, host, Request("show", record.environment, record.uid, record.gid))
    raise_problem(host, reply)
    return kernel.clone_mount(f"{host.mountpoint}/{reply.slot}"), replace(record, host=host.id, overlay="", why=why)


def refuse_other_owner(store: Store, record: MountRecord) -> None:
    """Raises MountRefused if the environment is mounted as somebody else's files: they would write into one upper layer."""
    overlay = find_overlay(store, record.environment)
    if overlay is None or overlay.owner == (record.uid, record.gid):
        return
    for other in iter_mount_records(store):
        if other.environment == record.environment and other.overlay:
            raise MountRefused(
                record.path, f"{other.path} shows the environment as the files of user {other.uid}; one can own it at a time"
            )


def refuse_to_hide(store: Store, record: MountRecord, why: str) -> None:
    """Raises MountRefused if tools have written into the environment: our own file system could not show that."""
    upper = current_upper(Environment(store, record.environment))
    if upper is not None and not upper.is_empty:
        raise MountRefused(
            record.path,
            f"the kernel's data path can't be used: {why}",
            "without it what tools wrote into the environment could not be seen; `--data-path fuse` mounts it all the same",
        )


def move_mounts(store: Store, require_host: RequireHost, environment: str) -> list[tuple[MountRecord, str]]:
    """Let every mount on the environment's overlay show the generation and upper layer that are current. Answers what failed, and why."""
    records = [record for record in iter_mount_records(store) if record.environment == environment and record.overlay]
    if not records:
        return []
    overlay = require_overlay(store, require_host, Environment(store, environment), (records[0].uid, records[0].gid))
    failed = []
    for record in records:
        if record.overlay != overlay.id:
            try:
                _move(store, require_host, record)
            except (MountRefused, OSError) as error:
                failed.append((record, explain(error) if isinstance(error, OSError) else "; ".join(error.reasons)))
    return failed


def find_late(store: Store) -> set[str]:
    """Environments of which some mount shows what is not current. No mount need be locked."""
    overlays = {overlay.environment: overlay for overlay in iter_overlays(store)}
    late = {overlay.environment for overlay in overlays.values() if not is_current(store, overlay)}
    for record in iter_mount_records(store):
        if record.overlay and (overlay := overlays.get(record.environment)) is not None and record.overlay != overlay.id:
            late.add(record.environment)
    return late


def refresh_late_mounts(store: Store, warn: Callable[[str], None]) -> None:
    """Let every mount on the kernel's path show what is current, and no blob that was set aside. A host is not started for it."""

    def require_host() -> Lease:
        if (host := find_host(store)) is None:
            raise MountRefused(store.root, "no daemon serves it")
        return host

    if not find_late(store):
        return
    with locked_mounts(store):
        for name in find_late(store):
            try:
                failed = move_mounts(store, require_host, name)
            except (CasfsError, OSError) as error:
                warn(f"environment {name!r} may still show a damaged file: {error}")
                continue
            for record, reason in failed:
                warn(f"{record.path} may still show a damaged file: {reason}")


def _move(store: Store, require_host: RequireHost, record: MountRecord) -> None:
    found = record.locate()
    if found is None or not (found.namespace or found.home == here()):
        raise MountRefused(record.path, "is a mount of another mount namespace")
    mount_fd, made = _open_mount(store, require_host, found)
    with closing_fd(mount_fd):
        if found.namespace:
            move_into(found.pid, found.path, mount_fd)
        else:
            _swap(found.path, mount_fd)
    write_mount_record(store, made)


def _swap(path: str, mount_fd: int) -> None:
    """Let a detached mount take the place of the one at `path`."""
    for _ in range(sum(mount.path == path and is_ours(mount) for mount in iter_mounts()) - 1):
        detach(path)  # a command was killed between attaching and taking away
    try:
        attach(mount_fd, path, is_beneath=True)
        detach(path)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        detach(path)  # before Linux 6.5 there is a moment without either
        attach(mount_fd, path)


def end_unused_overlays(store: Store) -> None:
    """End the overlays that no mount shows."""
    used = {record.environment for record in iter_mount_records(store) if record.overlay}
    for overlay in list(iter_remembered_overlays(store)):
        if overlay.environment not in used:
            end_overlay(store, overlay)
    end_lost(store)


def end_mount_inside(store: Store, record: MountRecord, *, is_lazy: bool) -> None:
    """End a mount in another mount namespace, if it is still there, and forget it. Raises MountRefused."""
    if (found := record.locate()) and is_ours_in(found.pid, record.path):
        unmount_from(found.pid, record.path, is_lazy=is_lazy or is_ours_in(found.pid, record.path, must_be_dead=True))
    forget_mount(store, record)


def find_lost_mounts(store: Store, host_id: str) -> list[MountRecord]:
    """The mounts of other hosts than this one, which are gone, as far as we can look. Those that the kernel alone shows have none.

    Those that are no mounts of a dead host are forgotten: somebody unmounted them, or the machine was started anew.
    """
    at_home = here()
    lost = []
    for record in [record for record in iter_mount_records(store) if record.host not in ("", host_id)]:
        if record.namespace or record.home in (at_home, ""):
            found = record.locate()
            if found is not None and _is_lost(found):
                lost.append(found)
            else:
                forget_mount(store, record)
    return lost


def revive_mounts(store: Store, host: Lease) -> list[MountRecord]:
    """Make the mounts of a host that is gone again, on this one. Answers those that could not be made, which are forgotten."""
    failed = []
    for record in find_lost_mounts(store, host.id):
        try:
            if record.overlay:
                _revive_on_overlay(store, host, record)
            else:
                _detach(record)
                make_mount(store, lambda: host, record)
        except (MountRefused, OSError):
            forget_mount(store, record)
            failed.append(record)
    return failed


def _revive_on_overlay(store: Store, host: Lease, record: MountRecord) -> None:
    """An overlay that asked the daemon gives way to a new one."""
    overlay = next((one for one in iter_overlays(store) if one.id == record.overlay), None)
    if overlay is not None and is_current(store, overlay):
        write_mount_record(store, replace(record, host=overlay.host))
    else:
        _move(store, lambda: host, record)


def _is_lost(record: MountRecord) -> bool:
    """Whether there is still a mount of ours at the record's path; on our own file system, one that nobody serves."""
    if record.namespace:
        return is_ours_in(record.pid, record.path, must_be_dead=not record.overlay)
    return is_ours(find_mount(record.path)) and (bool(record.overlay) or is_dead(record.path))


def _detach(record: MountRecord) -> None:
    if record.namespace:
        unmount_from(record.pid, record.path, is_lazy=True)
    else:
        detach(record.path)


def new_host_mountpoint(store: Store) -> str:
    """A private directory on which a host may be mounted; what dead hosts left is cleared."""
    path = make_private_directory(store, os.urandom(6).hex())
    above = os.path.dirname(path)
    for other in os.listdir(above):
        if is_dead(dead := f"{above}/{other}"):
            with contextlib.suppress(OSError):
                detach(dead)
                os.rmdir(dead)
    return path

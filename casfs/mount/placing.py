"""Placing: how environments come to be seen at paths, how a path moves on to another generation, and how it comes back after a death.

Where the kernel can, a place shows the environment's overlay (see `overlays`); else our own file system, read-only, which changes beneath
it when the generation does. A place on an overlay moves on to the next one atomically: the new mount is attached beneath the old one,
which is then taken away (MOVE_MOUNT_BENEATH of move_mount(2), Linux 6.5). Whoever has files open goes on with the old one.

Call all of this with the places locked.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import replace

from casfs.errors import MountRefused
from casfs.mount import kernel
from casfs.mount.anchors import make_private_directory
from casfs.mount.into import is_ours_in, mount_into, move_into, unmount_from
from casfs.mount.mounts import attach, detach, find_mount, is_dead, is_ours, iter_mounts, prepare_mountpoint
from casfs.mount.overlay_layers import RequireHost, explain
from casfs.mount.overlays import end_lost, end_overlay, find_overlay, is_current, iter_overlays, iter_remembered_overlays, require_overlay
from casfs.mount.places import KERNEL, PLAIN, Place, forget_place, here, iter_places, remember_place
from casfs.store.environments import Environment
from casfs.store.leases import Lease
from casfs.store.store import Store
from casfs.store.uppers import current_upper


def make_place(store: Store, require_host: RequireHost, place: Place) -> Place:
    """Let the environment appear at the place, and remember it; the place as it came to be. Raises MountRefused."""
    mount_fd, made = _open_mount(store, require_host, place)
    try:
        if place.namespace:
            mount_into(place.pid, place.path, mount_fd)
        else:
            prepare_mountpoint(place.path)
            attach(mount_fd, place.path)
    finally:
        os.close(mount_fd)
    try:
        remember_place(store, made)
    except BaseException:
        with contextlib.suppress(MountRefused, OSError):
            _detach(made)
        raise
    return made


def _open_mount(store: Store, require_host: RequireHost, place: Place) -> tuple[int, Place]:
    """A detached mount to attach at the place, and the place as it will be. Raises MountRefused."""
    why = "it was asked for"
    if place.data_path != PLAIN:
        refuse_other_owner(store, place)
        try:
            overlay = require_overlay(store, require_host, Environment(store, place.environment), (place.uid, place.gid))
            mount_fd = kernel.clone_mount(overlay.anchor)
            if place.is_read_only:
                kernel.set_read_only(f"/proc/self/fd/{mount_fd}", is_read_only=True)
            return mount_fd, replace(place, host=overlay.host, overlay=overlay.id, why="")
        except (MountRefused, OSError) as error:
            why = explain(error) if isinstance(error, OSError) else "; ".join(error.reasons)
            if place.data_path == KERNEL:
                raise MountRefused(place.path, f"the kernel's data path can't be used: {why}") from None
            refuse_to_hide(store, place, why)
    from casfs.mount.control import Request, ask_daemon, raise_problem

    host = require_host()
    reply = ask_daemon(store, host, Request("show", place.environment, place.uid, place.gid))
    raise_problem(host, reply)
    return kernel.clone_mount(f"{host.mountpoint}/{reply.slot}"), replace(place, host=host.id, overlay="", why=why)


def refuse_other_owner(store: Store, place: Place) -> None:
    """Raises MountRefused if the environment is mounted as somebody else's files: they would write into one upper layer."""
    overlay = find_overlay(store, place.environment)
    if overlay is None or overlay.owner == (place.uid, place.gid):
        return
    for other in iter_places(store):
        if other.environment == place.environment and other.overlay:
            raise MountRefused(place.path, f"{other.path} shows the environment as the files of user {other.uid}; one can own it at a time")


def refuse_to_hide(store: Store, place: Place, why: str) -> None:
    """Raises MountRefused if tools have written into the environment: our own file system could not show that."""
    upper = current_upper(Environment(store, place.environment))
    if upper is not None and not upper.is_empty:
        raise MountRefused(
            place.path,
            f"the kernel's data path can't be used: {why}",
            "without it what tools wrote into the environment could not be seen; `--data-path fuse` mounts it all the same",
        )


def move_places(store: Store, require_host: RequireHost, environment: str) -> list[tuple[Place, str]]:
    """Let every place on the environment's overlay show the generation and upper layer that are current. Answers what failed, and why."""
    places = [place for place in iter_places(store) if place.environment == environment and place.overlay]
    if not places:
        return []
    overlay = require_overlay(store, require_host, Environment(store, environment), (places[0].uid, places[0].gid))
    failed = []
    for place in places:
        if place.overlay != overlay.id:
            try:
                _move(store, require_host, place)
            except (MountRefused, OSError) as error:
                failed.append((place, explain(error) if isinstance(error, OSError) else "; ".join(error.reasons)))
    return failed


def find_late(store: Store) -> set[str]:
    """Environments of which some place shows what is not current. No place need be locked."""
    overlays = {overlay.environment: overlay for overlay in iter_overlays(store)}
    late = {overlay.environment for overlay in overlays.values() if not is_current(store, overlay)}
    for place in iter_places(store):
        if place.overlay and (overlay := overlays.get(place.environment)) is not None and place.overlay != overlay.id:
            late.add(place.environment)
    return late


def _move(store: Store, require_host: RequireHost, place: Place) -> None:
    found = place.locate()
    if found is None or not (found.namespace or found.home == here()):
        raise MountRefused(place.path, "is a mount of another mount namespace")
    mount_fd, made = _open_mount(store, require_host, found)
    try:
        if found.namespace:
            move_into(found.pid, found.path, mount_fd)
        else:
            _swap(found.path, mount_fd)
    finally:
        os.close(mount_fd)
    remember_place(store, made)


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
    """End the overlays that no place shows."""
    used = {place.environment for place in iter_places(store) if place.overlay}
    for overlay in list(iter_remembered_overlays(store)):
        if overlay.environment not in used:
            end_overlay(store, overlay)
    end_lost(store)


def end_place_inside(store: Store, place: Place, *, is_lazy: bool) -> None:
    """Unmount a place in another mount namespace, if it is still there, and forget it. Raises MountRefused."""
    if (found := place.locate()) and is_ours_in(found.pid, place.path):
        unmount_from(found.pid, place.path, is_lazy=is_lazy or is_ours_in(found.pid, place.path, must_be_dead=True))
    forget_place(store, place)


def find_lost_places(store: Store, host_id: str) -> list[Place]:
    """The places of other hosts than this one, which are gone, as far as we can look. Those that the kernel alone shows have none.

    Those that are no mounts of a dead host are forgotten: somebody unmounted them, or the machine was started anew.
    """
    at_home = here()
    lost = []
    for place in [place for place in iter_places(store) if place.host not in ("", host_id)]:
        if place.namespace or place.home in (at_home, ""):
            found = place.locate()
            if found is not None and _is_lost(found):
                lost.append(found)
            else:
                forget_place(store, place)
    return lost


def revive_places(store: Store, host: Lease) -> list[Place]:
    """Make the places of a host that is gone again, on this one. Answers those that could not be made, which are forgotten."""
    failed = []
    for place in find_lost_places(store, host.id):
        try:
            if place.overlay:
                _revive_on_overlay(store, host, place)
            else:
                _detach(place)
                make_place(store, lambda: host, place)
        except (MountRefused, OSError):
            forget_place(store, place)
            failed.append(place)
    return failed


def _revive_on_overlay(store: Store, host: Lease, place: Place) -> None:
    """An overlay that asked the daemon gives way to a new one."""
    overlay = next((one for one in iter_overlays(store) if one.id == place.overlay), None)
    if overlay is not None and is_current(store, overlay):
        remember_place(store, replace(place, host=overlay.host))
    else:
        _move(store, lambda: host, place)


def _is_lost(place: Place) -> bool:
    """Whether the place is still a mount of ours; on our own file system, one that nobody serves."""
    if place.namespace:
        return is_ours_in(place.pid, place.path, must_be_dead=not place.overlay)
    return is_ours(find_mount(place.path)) and (bool(place.overlay) or is_dead(place.path))


def _detach(place: Place) -> None:
    if place.namespace:
        unmount_from(place.pid, place.path, is_lazy=True)
    else:
        detach(place.path)


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

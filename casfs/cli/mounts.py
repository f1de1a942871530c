"""mount, umount."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import shlex
import sys
import time
from collections.abc import Iterator

from casfs.cli.comeback import bury_dead_daemons
from casfs.cli.context import choose_interpreter, open_context, store_directory, warn_if_dead, warn_of_dead_interpreter
from casfs.cli.hints import DEFAULT_ENVIRONMENT
from casfs.cli.hosts import END_WAIT_S, end_idle_host, host_on_demand, start_beside
from casfs.cli.output import note
from casfs.cli.owner import owner_ids, warn_of_useless_mount
from casfs.cli.serving import serve_here, start_process
from casfs.errors import CasfsError, EnvironmentRefused, MountRefused
from casfs.mount.mounts import detach, find_mount, is_dead, is_ours, prepare_mountpoint, unmount
from casfs.mount.overlays import find_shown
from casfs.mount.places import (
    KERNEL,
    PLAIN,
    Place,
    find_place,
    follow_places,
    forget_place,
    iter_places,
    locked_places,
)
from casfs.mount.placing import end_place_inside, make_place
from casfs.store.environments import Environment
from casfs.store.following import resolve_path
from casfs.store.leases import iter_leases
from casfs.store.records import now_utc
from casfs.store.reliance import iter_environments, require_present
from casfs.store.store import Store, open_store
from casfs.store.unfinished import changing
from casfs.store.uppers import current_upper
from casfs.venv.similar import find_slip


def run_mount(arguments: argparse.Namespace) -> None:
    """casfs mount"""
    environment = open_to_mount(arguments)
    mountpoint = resolve_path(arguments.mountpoint)
    if not _is_mounted_already(environment, mountpoint, arguments):
        try:
            _mount_at(environment, mountpoint, arguments)
            return
        except MountRefused:
            if not _is_mounted_already(environment, mountpoint, arguments):  # else another command has mounted it just now
                raise
    note(f"{mountpoint} already shows environment {environment.name!r}")


def _mount_at(environment: Environment, mountpoint: str, arguments: argparse.Namespace) -> None:
    if f"{mountpoint}/".startswith(f"{os.path.realpath(environment.store.root)}/"):
        raise MountRefused(mountpoint, "is in the store itself")
    if arguments.owner is not None and os.geteuid() != 0:
        raise MountRefused(mountpoint, "only root can choose the owner of a mount's files (--owner)")
    if arguments.data_path == KERNEL and (arguments.foreground or os.geteuid() != 0):
        raise MountRefused(mountpoint, "only root's daemon has the kernel's data path; `casfs run` has it for everybody")
    with _unmaking(mountpoint):
        prepare_mountpoint(mountpoint)
        is_young = environment.current_number() in {None, 1}
        is_first = current_upper(environment) is None  # the kernel's data path makes one
        require_generation(environment, arguments.python, arguments.pip)
        if not arguments.foreground:
            made = _mount(environment, mountpoint, arguments)
            if is_first and (is_young or (made is not None and made.overlay)):
                _note_how_to_install(environment, is_writable=made is not None and bool(made.overlay) and not made.is_read_only)
            return
    serve_here(environment.store, environment.name, mountpoint, arguments.ready_fd, arguments.after)


@contextlib.contextmanager
def _unmaking(path: str) -> Iterator[None]:
    """Remove the directories at and above a path again that an exception leaves behind, and that are not there yet."""
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # somebody uses one
            for made in missing:
                os.rmdir(made)
        raise


def _mount(environment: Environment, mountpoint: str, arguments: argparse.Namespace) -> Place | None:
    """The place where root's host shows it; None: a daemon of this user serves it alone."""
    if os.geteuid() == 0:
        return mount_on_host(environment, mountpoint, arguments)
    serve = functools.partial(serve_here, environment.store, environment.name, mountpoint, after=arguments.after)
    if code := start_process(serve):
        sys.exit(code)
    return None


def open_to_mount(arguments: argparse.Namespace) -> Environment:
    """The environment to mount. Raises EnvironmentRefused if there is none of this name, but one that is probably meant.

    Any other new name makes an environment, since people mount first and add then. But what a slip of the keyboard made would be empty,
    beside the one that was meant, and nothing would say so again. Whoever does mean it adds something first, or names its interpreter.
    """
    environment = open_context(arguments, create=True)
    if arguments.python is None and environment.name != DEFAULT_ENVIRONMENT and environment.current_number() is None:
        known = [one.name for one in iter_environments(environment.store) if os.path.lexists(f"{one.directory}/current")]
        if meant := find_slip(environment.name, known):
            reason = f"there is no environment of this name; did you mean {meant!r}? `--python` makes it anyway"
            raise EnvironmentRefused(environment.name, reason)
    return environment


def require_generation(environment: Environment, python: str | None, with_pip: bool | None = None) -> None:
    """Make the environment if it is new. Raises EnvironmentRefused if it is not, but is in no pool any more or of another interpreter.

    `with_pip`: whether bin has something that stands in for pip from now on; None leaves that as it is.

    What is shown already is not looked at again: it was there when it was first mounted, and its overlay needs no generation read.
    """
    if python is None and with_pip is None and (executable := find_shown(environment.store, environment.name)):
        warn_if_dead(environment, executable)
        return
    if (current := environment.current()) is not None:
        if python is not None:
            choose_interpreter(environment, python)
        require_present(environment, current)
        warn_of_dead_interpreter(environment, current)
    else:
        from casfs.venv.changes import create_environment

        made = create_environment(environment, choose_interpreter(environment, python))
        note(f"made environment {environment.name!r} for Python {made.interpreter.version}")
    if with_pip is not None:
        from casfs.cli.changes import show_in_mounts
        from casfs.venv.changes import has_stand_in, set_interpreter

        if has_stand_in(environment.require()) != with_pip:
            with changing(environment.store):
                set_interpreter(environment, choose_interpreter(environment, None), with_pip=with_pip)
                show_in_mounts(environment)


def _note_how_to_install(environment: Environment, *, is_writable: bool) -> None:
    """Said at the first mount, as far as one can know."""
    from casfs.venv.changes import has_stand_in

    generation = environment.require()
    has_pip = has_stand_in(generation) or generation.find("pip") is not None
    pip = ", and `pip install NAME` in it" if is_writable and has_pip else ""
    note(f"`casfs add --env {environment.name} NAME` installs into it{pip}")


def _is_mounted_already(environment: Environment, mountpoint: str, arguments: argparse.Namespace) -> bool:
    """Whether the mountpoint shows this environment. Raises MountRefused if something else is mounted there."""
    mount = find_mount(mountpoint)
    if mount is None or is_dead(mountpoint):
        return False
    shown = _shown_at(environment.store, mountpoint)
    if not is_ours(mount) or shown is None:
        raise MountRefused(mountpoint, f"something else is mounted there ({mount.type})")
    if shown != environment.name:
        raise MountRefused(mountpoint, f"already shows environment {shown!r}")
    place = find_place(environment.store, mountpoint)
    if place is not None and (problem := _differs(environment, place, arguments)):
        raise MountRefused(mountpoint, f"already shows environment {shown!r}, {problem}; first `casfs umount {shlex.quote(mountpoint)}`")
    return True


def _differs(environment: Environment, place: Place, arguments: argparse.Namespace) -> str:
    """How a mount that is there differs from the one that is asked for; empty if it does not."""
    if arguments.read_only and not place.is_read_only and place.overlay:
        return "writable"
    if arguments.data_path and arguments.data_path != (KERNEL if place.overlay else PLAIN):
        return f"on the data path {KERNEL if place.overlay else PLAIN!r}"
    if arguments.owner is not None and owner_ids(environment, arguments.owner) != (place.uid, place.gid):
        return f"as the files of user {place.uid}"
    return ""


def _shown_at(store: Store, mountpoint: str) -> str | None:
    """The environment that a live mount of this store shows."""
    if (place := find_place(store, mountpoint)) is not None:
        return place.environment
    return next((lease.environment for lease in iter_leases(store) if lease.mountpoint == mountpoint), None)


def mount_on_host(environment: Environment, mountpoint: str, arguments: argparse.Namespace, namespace: int = 0, pid: int = 0) -> Place:
    """Let the store's host show the environment, in the mount namespace of process `pid` if one is given."""
    store = environment.store
    try:
        while (made := _make(environment, mountpoint, arguments, namespace, pid)) is None:
            require_generation(environment, arguments.python)
    except BaseException:
        with contextlib.suppress(CasfsError, OSError):  # why it failed is what matters
            end_idle_host(store, is_lazy=False)  # it was started for this
        raise
    start_beside(store)
    if not made.overlay and not arguments.data_path:
        note(f"{mountpoint} is read-only: the kernel's data path can't be used ({made.why})")
    if arguments.owner is not None and not namespace:
        warn_of_useless_mount(arguments.owner, made.uid, made.gid, mountpoint, environment.require().interpreter.executable)
    return made


def _make(environment: Environment, mountpoint: str, arguments: argparse.Namespace, namespace: int, pid: int) -> Place | None:
    """None if somebody has removed the environment just now. Only while the places are locked can nobody do so."""
    store = environment.store
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked_places(store))
        if environment.current_number() is None:
            return None
        require_host = stack.enter_context(host_on_demand(store))
        uid, gid = owner_ids(environment, arguments.owner)
        started = now_utc()
        wish, is_read_only = arguments.data_path or "", arguments.read_only
        place = Place(mountpoint, environment.name, uid, gid, "", started, namespace, pid, data_path=wish, is_read_only=is_read_only)
        return make_place(store, require_host, place)


def run_umount(arguments: argparse.Namespace) -> None:
    """casfs umount"""
    store = _store_of(arguments)
    if arguments.all:
        unmount_all(store, is_lazy=arguments.lazy)
    else:
        mountpoint = resolve_path(arguments.mountpoint)
        _unmount_one(store, mountpoint, is_lazy=arguments.lazy)
        if store is not None:
            _tidy(store, [mountpoint], is_lazy=arguments.lazy)


def _store_of(arguments: argparse.Namespace) -> Store | None:
    """The store, if there is one: a mount of another store can be ended as well."""
    try:
        return open_store(store_directory(arguments))
    except CasfsError:
        return None


def unmount_all(store: Store | None, *, is_lazy: bool) -> None:
    """End every mount of a store; one that is busy keeps no other. Raises MountRefused that names those that were."""
    if store is not None:
        bury_dead_daemons(store)
        if os.geteuid() == 0:
            follow_places(store)
        inside = [place for place in iter_places(store) if place.namespace]
        paths = [place.path for place in iter_places(store) if not place.namespace]
        paths += [lease.mountpoint for lease in iter_leases(store) if lease.environment]
        ends = [functools.partial(unmount_inside, store, place, is_lazy=is_lazy) for place in inside]
        ends += [functools.partial(_unmount_one, store, path, is_lazy=is_lazy) for path in paths]
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


def unmount_inside(store: Store, place: Place, *, is_lazy: bool) -> None:
    """Unmount a place in another mount namespace. Raises MountRefused."""
    with locked_places(store):
        end_place_inside(store, place, is_lazy=is_lazy)


def _unmount_one(store: Store | None, mountpoint: str, *, is_lazy: bool) -> None:
    """Nobody mounts there anew before the place is forgotten."""
    with locked_places(store) if store else contextlib.nullcontext():
        place = find_place(store, mountpoint) if store else None
        if is_ours(find_mount(mountpoint)):
            if is_lazy or is_dead(mountpoint):
                detach(mountpoint)
            else:
                unmount(mountpoint)
        elif place is None:
            raise MountRefused(mountpoint, "is not a mount of casfs")
        if store is not None and place is not None:
            forget_place(store, place)


def _tidy(store: Store, mountpoints: list[str], *, is_lazy: bool) -> None:
    """Let go what served mounts that have ended; unless lazily, return when it is gone, so that nothing is left behind."""
    end_idle_host(store, is_lazy=is_lazy)
    if not is_lazy:
        _wait_for_leases(store, mountpoints)


def _wait_for_leases(store: Store, mountpoints: list[str]) -> None:
    """Return when the daemons of the mounts are gone."""
    until = time.monotonic() + END_WAIT_S
    while any(lease.mountpoint in mountpoints for lease in iter_leases(store)) and time.monotonic() < until:
        time.sleep(0.005)

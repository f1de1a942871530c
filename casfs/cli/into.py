"""mount --into, umount --into: the mounts of another process's mount namespace. Without --into, `mounts` does the work."""

from __future__ import annotations

import argparse
import os

from casfs.cli.context import store_directory
from casfs.cli.hints import complete_hints, hint_at
from casfs.cli.hosts import end_idle_host
from casfs.cli.mounts import mount_on_host, open_to_mount, require_generation, unmount_inside
from casfs.cli.mounts import run_mount as run_mount_here
from casfs.cli.mounts import run_umount as run_umount_here
from casfs.cli.output import note
from casfs.errors import CasfsError, MountRefused
from casfs.mount.into import is_ours_in, namespace_of, resolve_in, unmount_from
from casfs.mount.places import find_place
from casfs.store.environments import Environment
from casfs.store.store import open_store


def run_mount(arguments: argparse.Namespace) -> None:
    """casfs mount"""
    if arguments.list is not None:
        _mount_many(arguments)
        return
    if arguments.into is None:
        run_mount_here(arguments)
        return
    path, namespace = _target(arguments)
    if arguments.foreground:
        raise MountRefused(path, "--foreground serves in this mount namespace only")
    environment = open_to_mount(arguments)
    if _is_mounted_already(environment, arguments.into, path, namespace):
        note(f"{path} of process {arguments.into} already shows environment {environment.name!r}")
        return
    if is_ours_in(arguments.into, path):  # a dead one
        unmount_from(arguments.into, path, is_lazy=True)
    require_generation(environment, arguments.python, arguments.pip)
    mount_on_host(environment, path, arguments, namespace, arguments.into)


def _mount_many(arguments: argparse.Namespace) -> None:
    """Mount what the lines of a file say. One that fails keeps no other. Raises MountRefused that names those that did."""
    refused = []
    for name, path in _read_list(arguments.list):
        hint_at(name)
        try:
            run_mount(argparse.Namespace(**{**vars(arguments), "env": name, "mountpoint": path, "list": None}))
        except CasfsError as error:
            refused.append(complete_hints(str(error)))
    if refused:
        raise MountRefused(arguments.list, *refused)


def _read_list(path: str) -> list[tuple[str, str]]:
    """(environment, path) of each line that says something; `~` is a home directory, as in a shell.

    Raises MountRefused that names the lines of another form.
    """
    with open(0 if path == "-" else path, encoding="utf-8", errors="surrogateescape", closefd=path != "-") as file:
        lines = [(number, line.strip()) for number, line in enumerate(file, 1)]
    said = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if wrong := [f"line {number} is not a name and a path: {line!r}" for number, line in said if len(line.split()) < 2]:
        raise MountRefused(path, *wrong)
    return [(name, os.path.expanduser(where)) for name, where in (line.split(None, 1) for _, line in said)]


def _target(arguments: argparse.Namespace) -> tuple[str, int]:
    """The path and the mount namespace that a command is about. Raises MountRefused."""
    if os.geteuid() != 0:
        raise MountRefused(arguments.mountpoint, "only root can mount in the namespace of another process")
    return resolve_in(arguments.into, arguments.mountpoint), namespace_of(arguments.into)


def _is_mounted_already(environment: Environment, pid: int, path: str, namespace: int) -> bool:
    """Whether the process sees this environment there. Raises MountRefused if it is another one."""
    if not is_ours_in(pid, path) or is_ours_in(pid, path, must_be_dead=True):
        return False
    place = find_place(environment.store, path, namespace)
    if place is None or place.environment != environment.name:
        raise MountRefused(
            f"{path} of process {pid}", f"already shows environment {place.environment!r}" if place else "is mounted already"
        )
    return True


def run_umount(arguments: argparse.Namespace) -> None:
    """casfs umount"""
    if arguments.into is None:
        run_umount_here(arguments)
        return
    if arguments.all:
        raise MountRefused("umount", "--all ends the mounts in every namespace; name a path with --into")
    path, namespace = _target(arguments)
    store = open_store(store_directory(arguments))
    place = find_place(store, path, namespace)
    if place is not None:
        unmount_inside(store, place, is_lazy=arguments.lazy)
    elif is_ours_in(arguments.into, path):
        unmount_from(arguments.into, path, is_lazy=arguments.lazy)
    else:
        raise MountRefused(f"{path} of process {arguments.into}", "is not a mount of casfs")
    end_idle_host(store, is_lazy=arguments.lazy)

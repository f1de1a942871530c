"""umount: a mount ends, here or in the mount namespace of another process."""

from __future__ import annotations

import argparse

from casfs.cli.commands.mount import target
from casfs.cli.context import store_directory
from casfs.cli.options import parse_positive
from casfs.cli.parser import Commands
from casfs.errors import CasfsError, MountRefused
from casfs.mounts.umount import umount, umount_all, umount_inside
from casfs.store.store import Store, open_store


def add_command(commands: Commands) -> None:
    """casfs umount"""
    parser = commands.add("umount", run_umount, "casfs umount ~/project/.venv")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("mountpoint", nargs="?", metavar="PATH", help="where it is mounted")
    what.add_argument("--all", action="store_true", help="every mount of the store; one that is in use stays and is named, the others end")
    parser.add_argument("--into", type=parse_positive, metavar="PID", help="PATH is in the mount namespace of this process (root only)")
    parser.add_argument("--lazy", action="store_true", help="even if it is in use: it disappears now and ends with its last user")


def run_umount(arguments: argparse.Namespace) -> None:
    """casfs umount"""
    if arguments.all:
        if arguments.into is not None:
            raise MountRefused("umount", "--all ends the mounts in every namespace; name a path with --into")
        if (store := _find_store(arguments)) is not None:
            umount_all(store, is_lazy=arguments.lazy)
        return
    path, namespace = target(arguments)
    if namespace:
        umount_inside(open_store(store_directory(arguments)), path, namespace, arguments.into, is_lazy=arguments.lazy)
    else:
        umount(_find_store(arguments), path, is_lazy=arguments.lazy)


def _find_store(arguments: argparse.Namespace) -> Store | None:
    """The store, if there is one: a mount of another store can be ended as well."""
    try:
        return open_store(store_directory(arguments))
    except CasfsError:
        return None

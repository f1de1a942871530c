"""umount: a mount ends, here or in the mount namespace of another process."""

from __future__ import annotations

import argparse

from casfs.cli.context import store_directory
from casfs.cli.mount import target
from casfs.errors import CasfsError, MountRefused
from casfs.mounts.umount import umount, umount_all, umount_inside
from casfs.store.store import Store, open_store


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

"""pool: which stores lie behind this one."""

from __future__ import annotations

import argparse
import os

from casfs.cli.context import store_directory
from casfs.cli.output import note, say
from casfs.store.shared import add_shared_pool, read_config, remove_shared_pool
from casfs.store.store import open_store


def run_add(arguments: argparse.Namespace) -> None:
    """casfs pool add"""
    store = open_store(store_directory(arguments), create=True)
    pool = os.path.abspath(arguments.directory)
    say(f"+ {pool}" if add_shared_pool(store, pool) else f"= {pool}")


def run_remove(arguments: argparse.Namespace) -> None:
    """casfs pool remove"""
    store = open_store(store_directory(arguments))
    pool = os.path.abspath(arguments.directory)
    remove_shared_pool(store, pool)
    say(f"- {pool}")
    note("what only this pool held is missing now: `casfs fsck` names it, and adding those wheels again restores it")


def run_list(arguments: argparse.Namespace) -> None:
    """casfs pool list"""
    for pool in read_config(open_store(store_directory(arguments)).root):
        say(pool)

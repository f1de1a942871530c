"""pool: which stores lie behind this one."""

from __future__ import annotations

import argparse
import os
import shlex

from casfs.cli.context import store_directory
from casfs.cli.output import note, say, say_json
from casfs.errors import StoreRefused
from casfs.store.reliance import WAY_OUT, find_reliant
from casfs.store.shared import add_shared_pool, nothing_relying, read_config, remove_shared_pool
from casfs.store.store import Store, open_store


def run_add(arguments: argparse.Namespace) -> None:
    """casfs pool add"""
    store = open_store(store_directory(arguments), create=True)
    pool = os.path.abspath(arguments.directory)
    say(f"+ {pool}" if add_shared_pool(store, pool) else f"= {pool}")


def run_remove(arguments: argparse.Namespace) -> None:
    """casfs pool remove"""
    store = open_store(store_directory(arguments))
    pool = os.path.abspath(arguments.directory)
    with nothing_relying(store):
        reliant = _find_reliant(store, pool)
        if reliant and not arguments.force:
            raise StoreRefused(
                pool, f"{reliant}, which no other pool has; `casfs pool remove --force {shlex.quote(pool)}` removes it anyway"
            )
        remove_shared_pool(store, pool)
    say(f"- {pool}")
    if reliant:
        note(f"{reliant}, which is missing now: {WAY_OUT}")


def _find_reliant(store: Store, pool: str) -> str:
    """Which environment would lack something without the pool, as a sentence; empty if none would."""
    store.rely_on(pools := read_config(store.root))
    return find_reliant(store, pool) if pool in pools else ""


def run_list(arguments: argparse.Namespace) -> None:
    """casfs pool list"""
    store = open_store(store_directory(arguments))
    pools = read_config(store.root)
    if arguments.json:
        say_json([{"path": pool} for pool in pools])
        return
    for pool in pools:
        say(pool)
    if not pools:
        note(f"{store.root} has no shared pools; `casfs pool add DIR` lets another store lie behind it")

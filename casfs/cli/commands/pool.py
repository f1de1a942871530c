"""pool: which stores lie behind this one."""

from __future__ import annotations

import argparse
import os
import shlex

from casfs.cli.context import store_directory
from casfs.cli.options import add_index_options, add_json, add_no_compile, add_requirements_files, parse_positive
from casfs.cli.output import note, say, say_json
from casfs.cli.parser import Commands
from casfs.errors import StoreRefused
from casfs.store.availability import WAY_OUT, find_reliant
from casfs.store.shared import add_shared_pool, exclusive_store_lock, read_config, remove_shared_pool
from casfs.store.store import Store, open_store


def add_command(commands: Commands) -> None:
    """casfs pool"""
    actions = commands.add_group("pool", "casfs pool add /srv/casfs")
    add = actions.add("add", run_add, "casfs pool add /srv/casfs", "let another store lie behind this one")
    add.add_argument("directory", metavar="DIR", help="a store that this one may read")
    remove = actions.add("remove", run_remove, "casfs pool remove /srv/casfs", "do without a shared pool")
    remove.add_argument("directory", metavar="DIR", help="a store that this one may read")
    remove.add_argument("--force", action="store_true", help="even if an environment needs files that only this pool has")
    _add_warm(actions)
    add_json(actions.add("list", run_list, "casfs pool list", "list the shared pools, in the order in which they are asked"))


def _add_warm(actions: Commands) -> None:
    text = "fill the pool ahead of users: resolve each requirement by itself, fetch all that it needs, compile it"
    warm = actions.add("warm", run_warm, "casfs pool warm -r popular.txt --python 3.12 --python 3.13", text)
    warm.add_argument("what", nargs="*", metavar="WHAT", help="a requirement")
    add_requirements_files(warm)
    text = "for this interpreter: a path, or a version such as 3.12 (repeatable)"
    warm.add_argument("--python", action="append", metavar="PYTHON", help=text)
    text = "so many at a time (default: one for each core)"
    warm.add_argument("--jobs", type=parse_positive, default=os.cpu_count() or 1, metavar="N", help=text)
    warm.set_defaults(usage_error=warm.error)
    add_no_compile(warm)
    add_index_options(warm)


def run_warm(arguments: argparse.Namespace) -> int:
    """casfs pool warm"""
    from casfs.cli.warm import warm  # the resolver, which the other actions need not load

    return warm(arguments)


def run_add(arguments: argparse.Namespace) -> None:
    """casfs pool add"""
    store = open_store(store_directory(arguments), create=True)
    pool = os.path.abspath(arguments.directory)
    say(f"+ {pool}" if add_shared_pool(store, pool) else f"= {pool}")


def run_remove(arguments: argparse.Namespace) -> None:
    """casfs pool remove"""
    store = open_store(store_directory(arguments))
    pool = os.path.abspath(arguments.directory)
    with exclusive_store_lock(store):
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

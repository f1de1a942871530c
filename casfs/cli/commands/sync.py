"""sync: at once if there is nothing to do, else as `casfs.cli.locked` does."""

from __future__ import annotations

import argparse

from casfs.cli.context import choose_interpreter, open_context
from casfs.cli.options import add_index_options, add_json, add_manner, add_python, add_shared_pool
from casfs.cli.output import note, warn
from casfs.cli.parser import SIGNS, Commands
from casfs.cli.synced import find_sync, read_lock_of_wheels
from casfs.mounts.refresh import refresh_mounts
from casfs.store.pending_changes import changing

_USUAL_PARTS = """Without these options no extra, and the groups that `uv sync` takes by itself, or
`poetry install` (all that are not optional), or that a pylock.toml calls its
default-groups. For a uv.lock the variables UV_NO_DEV, UV_NO_GROUP and
UV_NO_DEFAULT_GROUPS count as they do in uv."""


def add_command(commands: Commands) -> None:
    """casfs sync"""
    sync = commands.add("sync", run_sync, f"casfs sync pylock.toml\n\n{SIGNS}")
    sync.add_argument("lock", metavar="LOCK", help="a pylock.toml, uv.lock, poetry.lock or requirements file (the last may be a URL or -)")
    add_python(sync)
    _add_choice(sync)
    sync.add_argument("--show-left-out", action="store_true", help="name each requirement that a marker of the lock leaves out")
    add_shared_pool(sync)
    add_manner(sync)
    add_json(sync)
    add_index_options(sync)


def _add_choice(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which parts of the lock", _USUAL_PARTS)
    for option, what in (
        ("--extra", "and this extra"),
        ("--no-extra", "but not this extra, of all"),
        ("--group", "and this dependency group"),
        ("--no-group", "but not this dependency group"),
        ("--only-group", "this dependency group alone, of a uv.lock or poetry.lock"),
    ):
        group.add_argument(option, action="append", metavar="NAME", help=f"{what} (repeatable)")
    for option, meant in (("--dev", "--group"), ("--no-dev", "--no-group"), ("--only-dev", "--only-group")):
        dest = meant[2:].replace("-", "_")
        group.add_argument(option, action="append_const", const="dev", dest=dest, help=f"the same as {meant} dev")
    group.add_argument("--all-extras", action="store_true", help="all extras")
    group.add_argument("--all-groups", action="store_true", help="all dependency groups")
    group.add_argument("--no-default-groups", action="store_true", help="no dependency group but those that are named")


def run_sync(arguments: argparse.Namespace) -> None:
    """casfs sync"""
    if not _is_synced(arguments):
        from casfs.cli import locked

        locked.sync(arguments)


def _is_synced(arguments: argparse.Namespace) -> bool:
    """Whether there was nothing to do but to let the mounts show it."""
    if arguments.json or arguments.show_left_out or (lock := read_lock_of_wheels(arguments.lock)) is None:
        return False
    environment = open_context(arguments, create=True)
    if (said := find_sync(arguments, environment, lock)) is None:
        return False
    if arguments.python is not None:
        choose_interpreter(environment, arguments.python)
    with changing(environment.store):
        refresh_mounts(environment, warn)
    note(said)
    return True

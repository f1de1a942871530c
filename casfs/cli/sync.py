"""sync: at once if there is nothing to do, else as `locks` does."""

from __future__ import annotations

import argparse

from casfs.cli.context import choose_interpreter, open_context
from casfs.cli.output import note
from casfs.cli.showing import tell_daemons
from casfs.cli.synced import find_sync, read_lock_of_wheels
from casfs.store.unfinished import changing


def run_sync(arguments: argparse.Namespace) -> None:
    """casfs sync"""
    if not _is_synced(arguments):
        from casfs.cli import locks

        locks.run_sync(arguments)


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
        tell_daemons(environment)
    note(said)
    return True

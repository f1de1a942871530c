"""rollback: an earlier generation is current again."""

from __future__ import annotations

import argparse

from casfs.changes.changes import roll_back
from casfs.cli.changes import say_change
from casfs.cli.context import open_context, warn_of_dead_interpreter
from casfs.cli.options import add_json, parse_whole
from casfs.cli.output import note, warn
from casfs.cli.parser import Commands
from casfs.mounts.refresh import refresh_after_change
from casfs.store.environments import Environment
from casfs.store.generations import Generation
from casfs.store.pending_changes import changing

_ROLLBACK = "rollback to "


def add_command(commands: Commands) -> None:
    """casfs rollback"""
    rollback = commands.add("rollback", run_rollback, "casfs rollback 3")
    text = "the generation (default: the one before the current one; so a second rollback undoes the first)"
    rollback.add_argument("generation", nargs="?", type=parse_whole, metavar="N", help=text)
    add_json(rollback)


def run_rollback(arguments: argparse.Namespace) -> None:
    """casfs rollback"""
    environment = open_context(arguments)
    with changing(environment.store):
        change = roll_back(environment, arguments.generation)
        refresh_after_change(environment, warn)
    say_change(arguments, environment, change.before, change.after)
    warn_of_dead_interpreter(environment, change.after)
    note(f"generation {change.after.number}: {change.after.command}; `casfs rollback` undoes that{_further(environment, change.after)}")


def _further(environment: Environment, after: Generation) -> str:
    """Where to go on from a rollback, which is a generation itself, so that a second one returns from it."""
    numbers = environment.numbers()
    while after.command.startswith(_ROLLBACK) and (number := int(after.command.removeprefix(_ROLLBACK))) in numbers:
        after = environment.read(number)
    earlier = max((number for number in numbers if number < after.number), default=None)
    return "" if earlier is None else f", `casfs rollback {earlier}` goes further back"

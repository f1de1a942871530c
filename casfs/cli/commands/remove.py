"""remove: distributions leave the environment."""

from __future__ import annotations

import argparse
import contextlib

from casfs.changes.changes import parse_project, remove_distributions
from casfs.cli.changes import say_change, warn_of_broken
from casfs.cli.context import choose_interpreter, open_context
from casfs.cli.options import add_json
from casfs.cli.output import warn
from casfs.cli.parser import Commands
from casfs.errors import InterpreterRefused
from casfs.mounts.refresh import refresh_after_change
from casfs.store.pending_changes import changing


def add_command(commands: Commands) -> None:
    """casfs remove"""
    remove = commands.add("remove", run_remove, "casfs remove numpy")
    remove.add_argument("names", nargs="+", metavar="NAME", help="name of a project")
    add_json(remove)


def run_remove(arguments: argparse.Namespace) -> None:
    """casfs remove"""
    environment = open_context(arguments)
    projects = [parse_project(name) for name in arguments.names]
    with changing(environment.store):
        change = remove_distributions(environment, projects)
        refresh_after_change(environment, warn)
    say_change(arguments, environment, change.before, change.after)
    with contextlib.suppress(InterpreterRefused):  # one that is gone from the machine keeps nothing from being removed
        warn_of_broken(environment, choose_interpreter(environment, None), change)

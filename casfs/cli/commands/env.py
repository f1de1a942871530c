"""env: the environments of a store: listed, removed, given another interpreter."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from casfs.cli.context import find_python, store_directory
from casfs.cli.hints import environment_name, hint_at
from casfs.cli.options import add_json
from casfs.cli.output import format_size, local_time, note, say, say_json, say_table, warn
from casfs.cli.parser import Commands
from casfs.errors import CasfsError, EnvironmentRefused
from casfs.mounts.mountpoints import iter_shown
from casfs.store.availability import iter_environments
from casfs.store.environments import Environment
from casfs.store.generations import Generation
from casfs.store.leases import iter_private_leases, own_environment
from casfs.store.pending_changes import changing
from casfs.store.shared import use_shared_pools, use_what_is_there
from casfs.store.store import Store, open_store
from casfs.store.uppers import current_upper
from casfs.upper.written import UpperDirectory, UpperEntryKind


@dataclass(frozen=True, slots=True)
class _Listed:
    """An environment as it is listed."""

    name: str
    generation: Generation
    written: int | None  # bytes of its upper layer; None if they can't be counted
    shown: list[str]  # where it is mounted


def _open(arguments: argparse.Namespace) -> Store:
    """The store, with those of its shared pools that can be used: an environment is listed and removed without them, too."""
    store = open_store(store_directory(arguments))
    use_what_is_there(store, warn)
    return store


def add_command(commands: Commands) -> None:
    """casfs env"""
    actions = commands.add_group("env", "casfs env list")
    text = "list the environments with their interpreters, sizes and mounts"
    add_json(actions.add("list", run_list, "casfs env list --json", text))
    text = "remove environments, with their generations and what was written into their mounts; the pool keeps its files"
    remove = actions.add("remove", run_remove, "casfs env remove tests", text)
    remove.add_argument("names", nargs="+", metavar="NAME", help="name of an environment")
    remove.add_argument("--yes", action="store_true", help="even if something that was written into its mounts would be lost")
    text = "give an environment another interpreter of the same release, such as a newer patch release; its mounts show it at once"
    set_python = actions.add("set-python", run_set_python, "casfs env set-python tests 3.11", text)
    set_python.add_argument("name", metavar="NAME", help="name of an environment")
    set_python.add_argument("python", metavar="PYTHON", help="an interpreter: a path, or a version such as 3.11")


def run_list(arguments: argparse.Namespace) -> None:
    """casfs env list"""
    store = _open(arguments)
    shown = list(iter_shown(store))
    found = [one for environment in _iter_named(store) if (one := _describe(environment, shown))]
    if arguments.json:
        say_json([_json(one) for one in found])
        return
    chosen = environment_name(arguments)
    head = ("", "Environment", "Python", "Distributions", "UpperEntry", "Last change", "Mounted at")
    if found:
        say_table(head, [("*" if one.name == chosen else "", *_row(one)) for one in found])
    else:
        note(f"{store.root} has no environments yet; `casfs add` makes one")


def _iter_named(store: Store) -> list[Environment]:
    """The environments that have names of their own: those that `casfs run` makes for some wheels end with it."""
    private = {own_environment(lease.id) for lease in iter_private_leases(store)}
    return [environment for environment in iter_environments(store) if environment.name not in private]


def _describe(environment: Environment, shown: Sequence[tuple[str, str]]) -> _Listed | None:
    """`shown` is what `iter_shown` gives. None for one that does not exist yet, and for one that is damaged, which is told."""
    try:
        if (generation := environment.current()) is None:
            return None
    except CasfsError as error:
        note(f"casfs: {error}")
        return None
    places = [where for name, where in shown if name == environment.name]
    return _Listed(environment.name, generation, _written_size(environment), places)


def _written_size(environment: Environment) -> int | None:
    try:
        if (upper := current_upper(environment)) is None:
            return 0
        with UpperDirectory(upper.files) as upper_directory:
            return sum(entry.size for entry in upper_directory.entries.values() if entry.kind is UpperEntryKind.FILE)
    except (CasfsError, OSError):
        return None


def _row(one: _Listed) -> tuple[str, ...]:
    written = "?" if one.written is None else format_size(one.written)
    generation = one.generation
    count = str(len(generation.distributions))
    return one.name, generation.interpreter.version, count, written, local_time(generation.created), ", ".join(one.shown)


def _json(one: _Listed) -> dict[str, Any]:
    interpreter = one.generation.interpreter
    return {
        "name": one.name,
        "python": interpreter.version,
        "executable": interpreter.executable,
        "generation": one.generation.number,
        "distribution_count": len(one.generation.distributions),
        "written_bytes": one.written,
        "changed": one.generation.created,
        "mounts": one.shown,
    }


def run_remove(arguments: argparse.Namespace) -> None:
    """casfs env remove"""
    from casfs.mounts.removal import refuse_shown, remove_environment

    store = _open(arguments)
    for name in dict.fromkeys(arguments.names):
        hint_at(name)
        environment = Environment(store, name)
        refuse_shown(environment)
        if not arguments.yes:
            _refuse_loss(environment)
        remove_environment(environment)
        say(f"- {name}")


def run_set_python(arguments: argparse.Namespace) -> None:
    """casfs env set-python"""
    from casfs.changes.changes import set_interpreter
    from casfs.interpreters.known import know_interpreter
    from casfs.mounts.refresh import refresh_after_change

    store = open_store(store_directory(arguments))
    use_shared_pools(store)
    environment = Environment(store, arguments.name)
    interpreter = know_interpreter(store, find_python(store, arguments.python))
    with changing(store):
        change = set_interpreter(environment, interpreter)
        refresh_after_change(environment, warn)
    if change.after is change.before:
        note(f"{environment.name} is an environment of {interpreter.executable} already")
    else:
        say(f"{environment.name}: Python {interpreter.version}, {interpreter.executable}")


def _refuse_loss(environment: Environment) -> None:
    """Raises EnvironmentRefused if something would be lost that no pool has."""
    from casfs.cli.uppers import summarise_upper

    if environment.current_number() is not None and (summary := summarise_upper(environment)) and not summary.is_empty:
        size = f" ({format_size(summary.size)})" if summary.size else ""
        what = f"what was written into its mounts would be lost{size}: `casfs diff` shows it"
        way_out = f"`casfs absorb` keeps what tools installed, `casfs env remove --yes {environment.name}` removes the environment anyway"
        raise EnvironmentRefused(environment.name, f"{what}, {way_out}")

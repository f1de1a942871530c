"""adopt: an environment of an existing virtual environment."""

from __future__ import annotations

import argparse
import os

from casfs.changes.absorbed import AbsorbOptions
from casfs.changes.adopt import Adoption, adopt, refuse_full
from casfs.changes.existing import find_base, read_existing, require_existing
from casfs.cli.bytecode import new_maker, note_bytecode, way_to_make
from casfs.cli.changes import say_change
from casfs.cli.commands.list import size_of
from casfs.cli.context import choose_interpreter, open_context
from casfs.cli.options import add_json, add_no_compile, add_python, add_shared_pool
from casfs.cli.output import format_count, format_size, note, progress_of_wheels, warn
from casfs.cli.parser import Commands
from casfs.mounts.refresh import refresh_after_change
from casfs.store.following import resolve_path
from casfs.store.pending_changes import changing
from casfs.upper.written import UpperDirectory


def add_command(commands: Commands) -> None:
    """casfs adopt"""
    adopt = commands.add("adopt", run_adopt, "casfs adopt ~/project/.venv")
    adopt.add_argument("directory", metavar="PATH", help="a virtual environment that venv, virtualenv, uv or Poetry made")
    add_python(adopt, "its base interpreter (default: the one that it was made with)")
    add_shared_pool(adopt)
    add_no_compile(adopt)
    add_json(adopt)


def run_adopt(arguments: argparse.Namespace) -> None:
    """casfs adopt"""
    directory = resolve_path(arguments.directory)
    require_existing(directory)
    environment = open_context(arguments, create=True)
    refuse_full(environment)
    with UpperDirectory(directory) as upper_directory:
        existing = read_existing(upper_directory)
        interpreter = choose_interpreter(environment, arguments.python or find_base(existing))
        with changing(environment.store), progress_of_wheels() as progress:
            options = AbsorbOptions({os.path.abspath(arguments.directory)}, progress=progress)
            maker = new_maker(environment.store, interpreter, progress)
            make = way_to_make(maker, is_compiled=not arguments.no_compile)
            done = adopt(environment, interpreter, existing, upper_directory, options, make_bytecode=make)
            refresh_after_change(environment, warn)
    say_change(arguments, environment, done.before, done.after)
    _tell(done)
    note_bytecode(maker.made)
    if existing.has_base_packages:
        warn(f"{directory} also shows what is installed for {interpreter.executable} itself; the environment {environment.name} does not")


def _tell(done: Adoption) -> None:
    """How much was taken over, and a line for each thing that was left alone."""
    for refused in done.refused:
        warn(f"{refused.subject}: {'; '.join(refused.reasons)}; it was left alone")
    for one in done.notes:
        warn(one)
    for left in done.left:
        warn(f"{left}; it was left alone")
    distributions = done.after.distributions
    size = sum(size_of(distribution) for distribution in distributions)
    note(f"{format_count(len(distributions), 'distribution')}, {format_count(done.files, 'file')}, {format_size(size)}")

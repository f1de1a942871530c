"""adopt: an environment of an existing virtual environment."""

from __future__ import annotations

import argparse
import os

from casfs.cli.bytecode import new_maker, note_bytecode, way_to_make
from casfs.cli.changes import say_change, show_in_mounts
from casfs.cli.context import choose_interpreter, open_context
from casfs.cli.output import format_count, format_size, note, progress_of_wheels, warn
from casfs.cli.queries import size_of
from casfs.store.following import resolve_path
from casfs.store.unfinished import changing
from casfs.venv.plain.adopted import Adoption, adopt, refuse_full
from casfs.venv.plain.existing import find_base, read_existing, require_existing
from casfs.venv.upper.absorbed import AbsorbOptions
from casfs.venv.upper.written import Writings


def run_adopt(arguments: argparse.Namespace) -> None:
    """casfs adopt"""
    directory = resolve_path(arguments.directory)
    require_existing(directory)
    environment = open_context(arguments, create=True)
    refuse_full(environment)
    with Writings(directory) as writings:
        existing = read_existing(writings)
        interpreter = choose_interpreter(environment, arguments.python or find_base(existing))
        with changing(environment.store), progress_of_wheels() as progress:
            options = AbsorbOptions({os.path.abspath(arguments.directory)}, progress=progress)
            maker = new_maker(environment.store, interpreter, progress)
            make = way_to_make(maker, is_compiled=not arguments.no_compile)
            done = adopt(environment, interpreter, existing, writings, options, make_bytecode=make)
            show_in_mounts(environment)
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
    size = sum(size_of(one) for one in distributions)
    note(f"{format_count(len(distributions), 'distribution')}, {format_count(done.files, 'file')}, {format_size(size)}")

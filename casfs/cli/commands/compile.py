"""compile: the environment's sources become bytecode, once for the store."""

from __future__ import annotations

import argparse

from casfs.changes.changes import compile_distributions
from casfs.cli.bytecode import new_maker, note_bytecode
from casfs.cli.context import choose_interpreter, open_context
from casfs.cli.options import parse_whole
from casfs.cli.output import note, progress_of_wheels, warn
from casfs.cli.parser import Commands
from casfs.mounts.refresh import refresh_after_change
from casfs.store.pending_changes import changing


def add_command(commands: Commands) -> None:
    """casfs compile"""
    parser = commands.add("compile", run_compile, "casfs compile --optimize 1")
    text = "for python (0, the default), python -O (1) or python -OO (2)"
    parser.add_argument("--optimize", type=parse_whole, choices=(0, 1, 2), default=0, help=text)


def run_compile(arguments: argparse.Namespace) -> None:
    """casfs compile"""
    environment = open_context(arguments)
    environment.require()
    interpreter = choose_interpreter(environment, None)
    with changing(environment.store), progress_of_wheels() as progress:
        maker = new_maker(environment.store, interpreter, progress, arguments.optimize)
        change = compile_distributions(environment, maker.make)
        refresh_after_change(environment, warn)
    note_bytecode(maker.made)
    said = "every source that compiles has bytecode" if change.after is change.before else f"generation {change.after.number}: compile"
    note(said)

"""compile; and what other commands tell about bytecode."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from casfs.cli.context import choose_interpreter, open_context
from casfs.cli.output import format_count, format_size, note, progress_of_wheels, warn
from casfs.errors import CasfsError, reason_of
from casfs.store.environments import Environment
from casfs.store.ingest import Progress
from casfs.store.unfinished import changing
from casfs.venv.bytecode import BytecodeMaker, Made, Stored, target_of


def find_maker(environment: Environment, progress: Progress) -> BytecodeMaker | None:
    """What gives an environment's distributions their bytecode; None, after a warning, if its interpreter is not there any more."""
    try:
        interpreter = choose_interpreter(environment, None)
    except CasfsError as error:
        warn(f"nothing is compiled: {error}")
        return None
    return BytecodeMaker(environment.store, interpreter.executable, target_of(interpreter), progress)


def make_or_warn(maker: BytecodeMaker, manifests: Sequence[Stored]) -> Sequence[Stored]:
    """The manifests with bytecode; as they are, after a warning, if it can't be made: a wheel works without."""
    try:
        return maker.make(manifests)
    except CasfsError as error:
        warn(f"nothing is compiled: {error}")
    except OSError as error:
        warn(f"nothing is compiled: {error.filename or 'the system'}: {reason_of(error)}")
    maker.made = Made()
    return manifests


def note_bytecode(made: Made) -> None:
    """A line about bytecode, if there was anything to do."""
    if made.compiled or made.failed:
        failed = f"; {format_count(len(made.failed), 'source')} can't be compiled, such as {made.failed[0]}" if made.failed else ""
        note(f"bytecode: {format_count(made.files, 'file')}, {format_size(made.size)}; {made.compiled:,} compiled now{failed}")


def run_compile(arguments: argparse.Namespace) -> None:
    """casfs compile"""
    from casfs.cli.changes import show_in_mounts
    from casfs.venv.changes import compile_distributions

    environment = open_context(arguments)
    environment.require()
    interpreter = choose_interpreter(environment, None)
    with changing(environment.store), progress_of_wheels() as progress:
        maker = BytecodeMaker(environment.store, interpreter.executable, target_of(interpreter, arguments.optimize), progress)
        change = compile_distributions(environment, maker.make)
        show_in_mounts(environment)
    note_bytecode(maker.made)
    said = "every source that compiles has bytecode" if change.after is change.before else f"generation {change.after.number}: compile"
    note(said)

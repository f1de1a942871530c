"""Bytecode, for the commands that bring distributions: who makes it, and what is told about it."""

from __future__ import annotations

from collections.abc import Sequence

from casfs.cli.context import choose_interpreter
from casfs.cli.output import format_count, format_size, note, warn
from casfs.errors import CasfsError, reason_of
from casfs.store.environments import Environment
from casfs.store.ingest import Progress
from casfs.venv.bytecode.bytecode import BytecodeMaker, Made, Stored, target_of


def find_maker(environment: Environment, progress: Progress) -> BytecodeMaker | None:
    """What gives an environment's distributions their bytecode; None, after a warning, if its interpreter is not there any more."""
    try:
        interpreter = choose_interpreter(environment, None)
    except CasfsError as error:
        warn(f"nothing is compiled: {error}")
        return None
    return BytecodeMaker(environment.store, interpreter.executable, target_of(interpreter), progress)


def make_if_possible(maker: BytecodeMaker, manifests: Sequence[Stored]) -> Sequence[Stored]:
    """The manifests with bytecode; as they are if it can't be made: a wheel works without, and `note_bytecode` tells why."""
    try:
        return maker.make(manifests)
    except CasfsError as error:
        maker.made = Made(problem=str(error))
    except OSError as error:
        maker.made = Made(problem=f"{error.filename or 'the system'}: {reason_of(error)}")
    return manifests


def note_bytecode(made: Made) -> None:
    """A line about bytecode, if there was anything to do."""
    if made.problem:
        warn(f"nothing is compiled: {made.problem}")
    elif made.compiled or made.failed:
        failed = f"; {format_count(len(made.failed), 'source')} can't be compiled, such as {made.failed[0]}" if made.failed else ""
        note(f"bytecode: {format_count(made.files, 'file')}, {format_size(made.size)}; {made.compiled:,} compiled now{failed}")

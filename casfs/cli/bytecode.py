"""Bytecode, for the commands that bring distributions: who makes it, and what is told about it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from casfs.cli.context import choose_interpreter
from casfs.cli.output import format_count, format_size, note, warn
from casfs.errors import CasfsError, describe_failure
from casfs.interpreters.interpreter import Interpreter
from casfs.store.environments import Environment
from casfs.store.ingest import Progress
from casfs.store.installations import Wanted
from casfs.store.store import Store
from casfs.venv.bytecode.bytecode import BytecodeMaker, Made, MakeBytecode, Stored, target_of


def find_maker(environment: Environment, progress: Progress) -> BytecodeMaker | None:
    """What gives an environment's distributions their bytecode; None, after a warning, if its interpreter is not there any more."""
    try:
        interpreter = choose_interpreter(environment, None)
    except CasfsError as error:
        warn(f"nothing is compiled: {error}")
        return None
    return new_maker(environment.store, interpreter, progress)


def new_maker(store: Store, interpreter: Interpreter, progress: Progress, level: int = 0) -> BytecodeMaker:
    """What gives manifests the bytecode of an interpreter that runs at an optimisation level."""
    return BytecodeMaker(store, interpreter.executable, target_of(interpreter, level), progress)


def way_to_make(maker: BytecodeMaker, *, is_compiled: bool) -> MakeBytecode:
    """Bytecode that the store has is taken in any case; the rest is made if it is wanted and possible."""
    return partial(make_if_possible, maker) if is_compiled else maker.take_known


def wanted_of(interpreter: Interpreter, *, is_compiled: bool) -> Wanted:
    """Which bytecode `way_to_make` gives."""
    return Wanted(target_of(interpreter), is_compiled)


def make_if_possible(maker: BytecodeMaker, manifests: Sequence[Stored]) -> Sequence[Stored]:
    """The manifests with bytecode; as they are if it can't be made: a wheel works without, and `note_bytecode` tells why."""
    try:
        return maker.make(manifests)
    except CasfsError as error:
        maker.made = Made(problem=str(error))
    except OSError as error:
        maker.made = Made(problem=describe_failure(error))
    return manifests


def note_bytecode(made: Made) -> None:
    """A line about bytecode, if there was anything to do."""
    if made.problem:
        warn(f"nothing is compiled: {made.problem}")
    elif made.compiled or made.failed:
        failed = f"; {format_count(len(made.failed), 'source')} can't be compiled, such as {made.failed[0]}" if made.failed else ""
        note(f"bytecode: {format_count(made.files, 'file')}, {format_size(made.size)}; {made.compiled:,} compiled now{failed}")


def describe_bytecode(made: Made) -> dict[str, object]:
    """What became of bytecode, for programs."""
    return {
        "file_count": made.files,
        "bytes": made.size,
        "compiled_count": made.compiled,
        "failed_sources": made.failed,
        "problem": made.problem or None,
    }

"""What commands that change an environment do, and tell; remove, compile and rollback."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence

from casfs.cli.bytecode import new_maker, note_bytecode, wanted_of, way_to_make
from casfs.cli.context import choose_interpreter, open_context, warn_of_dead_interpreter
from casfs.cli.output import format_count, format_size, note, progress_of_wheels, say, warn
from casfs.cli.showing import tell_daemons
from casfs.errors import InterpreterRefused, RecordRefused, WheelRefused
from casfs.store.environments import Environment
from casfs.store.generations import Distribution, Generation
from casfs.store.ingest import Ingested
from casfs.store.manifests import Description
from casfs.store.unfinished import changing
from casfs.store.uppers import current_upper
from casfs.venv.bytecode.bytecode import Made
from casfs.venv.changes import (
    AddOptions,
    Arrival,
    Change,
    add_wheels,
    compile_distributions,
    parse_project,
    remove_distributions,
    roll_back,
)
from casfs.venv.interpreters.interpreter import Interpreter, requires_python_problem, tags_problem

_ROLLBACK = "rollback to "


def change_and_show(
    arguments: argparse.Namespace,
    environment: Environment,
    interpreter: Interpreter,
    wheels: Sequence[str | Arrival],
    *,
    command: str = "",
    only: frozenset[str] | None = None,
) -> Change | None:
    """Add wheels as the options say, let the mounts show it, and tell what changed. `command` and `only` are those of AddOptions.

    None if not all bytecode that is wanted could be made.
    """
    options = AddOptions(arguments.strict, arguments.allow_record_mismatch, arguments.max_wheel_size, command=command, only=only)
    with changing(environment.store):
        with _naming_the_option():
            change, made = add_fitting(environment, interpreter, wheels, options, is_compiled=not arguments.no_compile)
        show_in_mounts(environment)
    _say_added(change, is_brief=only is not None)
    note_bytecode(made)
    if only is None:  # what a lock says was weighed by whoever made it
        _warn_of_broken(environment, interpreter, change)
    return None if made.problem else change


@contextlib.contextmanager
def _naming_the_option() -> Iterator[None]:
    """Let a refusal for nothing but RECORD say, once, what takes the wheel all the same."""
    try:
        yield
    except RecordRefused as error:
        *others, last = error.reasons
        raise RecordRefused(error.subject, *others, f"{last}; --allow-record-mismatch takes the wheel all the same") from None


def _warn_of_broken(environment: Environment, interpreter: Interpreter, change: Change) -> None:
    """One line for each requirement that a change broke."""
    from casfs.venv.broken import find_broken

    for broken in find_broken(environment.store, change.before, change.after, interpreter):
        warn(str(broken))


def add_fitting(
    environment: Environment, interpreter: Interpreter, wheels: Sequence[str | Arrival], options: AddOptions, *, is_compiled: bool
) -> tuple[Change, Made]:
    """Add wheels that fit the interpreter, and show how far that is. Bytecode that the store has is taken; the rest is made if wanted.

    Raises WheelRefused.
    """
    for one in wheels:
        refuse_unrecordable(one.origin if isinstance(one, Arrival) else one)

    def check(path: str, about: Description) -> None:
        _refuse_misfit(interpreter, path, about)

    with progress_of_wheels() as progress:
        maker = new_maker(environment.store, interpreter, progress)
        way, wanted = way_to_make(maker, is_compiled=is_compiled), wanted_of(interpreter, is_compiled=is_compiled)
        options = dataclasses.replace(options, progress=progress, make_bytecode=way, wanted=wanted)
        return add_wheels(environment, interpreter, wheels, check, options), maker.made


def refuse_unrecordable(path: str) -> None:
    """The lock file and direct_url.json say where a wheel came from, and both are UTF-8."""
    try:
        os.path.abspath(path).encode()
    except UnicodeEncodeError:
        raise WheelRefused(path, "has a path that is not valid UTF-8, so the environment can't record it") from None


def _refuse_misfit(interpreter: Interpreter, path: str, about: Description) -> None:
    problems = [tags_problem(interpreter, about.tags), requires_python_problem(interpreter, about.requires_python)]
    if found := [problem for problem in problems if problem]:
        raise WheelRefused(path, *found)


def _say_added(change: Change, *, is_brief: bool = False) -> None:
    changed = say_difference(change.before, change.after)
    for about in {one.about.project: one.about for one in change.ingested}.values():
        if about.project not in changed and not is_brief:
            say(f"= {about.name} {about.version}")
        for problem in about.tolerated:
            warn(f"{about.name} {about.version}: {problem}")
    for one in change.ingested:
        if one.remarks:
            warn(f"{one.about.name} {one.about.version}: {'; '.join(one.remarks)}")
    for conflict in change.conflicts:
        warn(f"{conflict}; {conflict.outcome}")
    note(_describe_size(change, describe_new(change.ingested)))


def describe_known(change: Change) -> str:
    """What the same change would say again."""
    return _describe_size(change, describe_new(()))


def _describe_size(change: Change, new: str) -> str:
    files = sum(one.count for one in change.ingested)
    size = sum(one.size for one in change.ingested)
    return f"{format_count(files, 'file')}, {format_size(size)}; {new}"


def describe_new(ingested: Sequence[Ingested]) -> str:
    """What wheels brought that the pool did not have."""
    files, size = sum(one.new_files for one in ingested), sum(one.new_bytes for one in ingested)
    return "new to the pool: " + (f"{format_count(files, 'file')}, {format_size(size)}" if files else "nothing")


def show_in_mounts(environment: Environment) -> None:
    """Let the mounts show the current generation, and no bytecode of what went with the one before."""
    tell_daemons(environment)
    if (upper := current_upper(environment)) is None or upper.is_empty or os.geteuid() != 0:
        return
    from casfs.mount.overlays import find_overlay
    from casfs.venv.upper.stale import find_stale_bytecode, remove_below, tidy_upper

    if stale := find_stale_bytecode(environment):
        if (overlay := find_overlay(environment.store, environment.name)) is not None:
            remove_below(overlay.anchor, stale)
        else:
            tidy_upper(environment)


def run_remove(arguments: argparse.Namespace) -> None:
    """casfs remove"""
    environment = open_context(arguments)
    projects = [parse_project(name) for name in arguments.names]
    with changing(environment.store):
        change = remove_distributions(environment, projects)
        show_in_mounts(environment)
    say_difference(change.before, change.after)
    with contextlib.suppress(InterpreterRefused):  # one that is gone from the machine keeps nothing from being removed
        _warn_of_broken(environment, choose_interpreter(environment, None), change)


def run_compile(arguments: argparse.Namespace) -> None:
    """casfs compile"""
    environment = open_context(arguments)
    environment.require()
    interpreter = choose_interpreter(environment, None)
    with changing(environment.store), progress_of_wheels() as progress:
        maker = new_maker(environment.store, interpreter, progress, arguments.optimize)
        change = compile_distributions(environment, maker.make)
        show_in_mounts(environment)
    note_bytecode(maker.made)
    said = "every source that compiles has bytecode" if change.after is change.before else f"generation {change.after.number}: compile"
    note(said)


def run_rollback(arguments: argparse.Namespace) -> None:
    """casfs rollback"""
    environment = open_context(arguments)
    with changing(environment.store):
        change = roll_back(environment, arguments.generation)
        show_in_mounts(environment)
    say_difference(change.before, change.after)
    warn_of_dead_interpreter(environment, change.after)
    note(f"generation {change.after.number}: {change.after.command}; `casfs rollback` undoes that{_further(environment, change.after)}")


def _further(environment: Environment, after: Generation) -> str:
    """Where to go on from a rollback, which is a generation itself, so that a second one returns from it."""
    numbers = environment.numbers()
    while after.command.startswith(_ROLLBACK) and (number := int(after.command.removeprefix(_ROLLBACK))) in numbers:
        after = environment.read(number)
    earlier = max((number for number in numbers if number < after.number), default=None)
    return "" if earlier is None else f", `casfs rollback {earlier}` goes further back"


def say_difference(before: Generation | None, after: Generation) -> set[str]:
    """One line for each distribution that came, went or changed: +, - or ~. Answers which projects these are."""
    old = {one.project: one for one in before.distributions} if before else {}
    new = {one.project: one for one in after.distributions}
    lines = {project: _describe(old.get(project), new.get(project)) for project in sorted(old.keys() | new.keys())}
    changed = {project: line for project, line in lines.items() if line}
    for line in changed.values():
        say(line)
    return {*changed}


def _describe(was: Distribution | None, now: Distribution | None) -> str | None:
    if was is None:
        return f"+ {now.name} {now.version}" if now else None
    if now is None:
        return f"- {was.name} {was.version}"
    if was.version != now.version:
        return f"~ {now.name} {was.version} -> {now.version}"
    is_same = (was.wheel, was.installation.manifest) == (now.wheel, now.installation.manifest)
    return None if is_same else f"~ {now.name} {now.version} (from {now.origin})"

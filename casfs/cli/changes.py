"""What commands that change an environment do alike, and what they tell of it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence

from casfs.changes.changes import (
    AddOptions,
    Change,
    WheelToAdd,
    add_wheels,
)
from casfs.cli.bytecode import describe_bytecode, new_maker, note_bytecode, wanted_of, way_to_make
from casfs.cli.output import format_count, format_size, note, progress_of_wheels, say, say_json, warn
from casfs.errors import RecordRefused, StoreDamaged, WheelRefused
from casfs.interpreters.interpreter import Interpreter, requires_python_problem, tags_problem
from casfs.mounts.refresh import refresh_after_change
from casfs.store.environments import Environment
from casfs.store.generations import Distribution, Generation
from casfs.store.ingest import Ingested
from casfs.store.manifests import Description, read_manifest
from casfs.store.pending_changes import changing
from casfs.store.store import Store
from casfs.venv.bytecode.bytecode import Made
from casfs.venv.bytecode_names import is_bytecode


def change_and_show(
    arguments: argparse.Namespace,
    environment: Environment,
    interpreter: Interpreter,
    wheels: Sequence[str | WheelToAdd],
    *,
    command: str = "",
    only: frozenset[str] | None = None,
    there: Sequence[Distribution] = (),
) -> Change | None:
    """Add wheels as the options say, let the mounts show it, and tell what changed. None if not all bytecode that is wanted could be made.

    `command` and `only` are those of AddOptions; what was asked for as well, and is `there`, is told with the rest.
    """
    options = AddOptions(arguments.strict, arguments.allow_record_mismatch, arguments.max_wheel_size, command=command, only=only)
    with changing(environment.store):
        with _naming_the_option():
            change, made = add_fitting(environment, interpreter, wheels, options, is_compiled=not arguments.no_compile)
        refresh_after_change(environment, warn)
    changed = {new.project for _, new in iter_differences(change.before, change.after) if new}
    coming = {one.about.project for one in change.ingested} - changed
    present = [distribution for distribution in change.after.distributions if distribution.project in coming] if only is None else []
    counted = _count_files(environment.store, change, is_brief=only is not None)
    if arguments.json:
        say_json(describe_change(environment, change.before, change.after) | _describe_added(change, made, [*present, *there], counted))
    else:
        say_difference(change.before, change.after)
        _say_present([*present, *there])
    _tell_added(change, counted)
    note_bytecode(made)
    if only is None:  # what a lock says was weighed by whoever made it
        warn_of_broken(environment, interpreter, change)
    return None if made.problem else change


@contextlib.contextmanager
def _naming_the_option() -> Iterator[None]:
    """Let a refusal for nothing but RECORD say, once, what takes the wheel all the same."""
    try:
        yield
    except RecordRefused as error:
        *others, last = error.reasons
        raise RecordRefused(error.subject, *others, f"{last}; --allow-record-mismatch takes the wheel anyway") from None


def warn_of_broken(environment: Environment, interpreter: Interpreter, change: Change) -> None:
    """One line for each requirement that a change broke."""
    from casfs.changes.broken import find_broken

    for broken in find_broken(environment.store, change.before, change.after, interpreter):
        warn(str(broken))


def add_fitting(
    environment: Environment, interpreter: Interpreter, wheels: Sequence[str | WheelToAdd], options: AddOptions, *, is_compiled: bool
) -> tuple[Change, Made]:
    """Add wheels that fit the interpreter, and show how far that is. Bytecode that the store has is taken; the rest is made if wanted.

    Raises WheelRefused.
    """
    for wheel in wheels:
        refuse_unrecordable(wheel.origin if isinstance(wheel, WheelToAdd) else wheel)

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


def tell_present(arguments: argparse.Namespace, environment: Environment, there: Sequence[Distribution]) -> None:
    """Say that all that was asked for is there, so nothing changed."""
    if arguments.json:
        current = environment.require()
        say_json(describe_change(environment, current, current) | _describe_added(Change(current, current), Made(), there, (0, 0)))
    else:
        _say_present(there)


def _say_present(there: Sequence[Distribution]) -> None:
    for distribution in there:
        say(f"= {distribution.name} {distribution.version}")


def _describe_added(change: Change, made: Made, present: Sequence[Distribution], counted: tuple[int, int]) -> dict[str, object]:
    """For programs: what a change of distributions brought beside them."""
    return {
        "unchanged": [{"name": distribution.name, "version": distribution.version} for distribution in present],
        "file_count": counted[0],
        "bytes": counted[1],
        "new_file_count": sum(one.new_files for one in change.ingested),
        "new_bytes": sum(one.new_bytes for one in change.ingested),
        "bytecode": describe_bytecode(made),
    }


def _tell_added(change: Change, counted: tuple[int, int]) -> None:
    """What should be known of the wheels, and how much all of it is."""
    for about in {one.about.project: one.about for one in change.ingested}.values():
        for problem in about.tolerated:
            warn(f"{about.name} {about.version}: {problem}")
    for one in change.ingested:
        if one.remarks:
            warn(f"{one.about.name} {one.about.version}: {'; '.join(one.remarks)}")
    for conflict in change.conflicts:
        warn(f"{conflict}; {conflict.outcome}")
    note(_describe_size(counted, describe_new(change.ingested)))


def describe_known(store: Store, change: Change) -> str:
    """What the same change would say if it were made again."""
    return _describe_size(_count_files(store, change, is_brief=True), describe_new(()))


def _describe_size(counted: tuple[int, int], new: str) -> str:
    return f"{format_count(counted[0], 'file')}, {format_size(counted[1])}; {new}"


def _count_files(store: Store, change: Change, *, is_brief: bool) -> tuple[int, int]:
    """Files and bytes of what came; with `is_brief` of the whole environment, of which some was there already."""
    files = sum(one.count for one in change.ingested)
    size = sum(one.size for one in change.ingested)
    sizes = _sizes_beside(store, change) if is_brief else []
    return files + len(sizes), size + sum(sizes)


def _sizes_beside(store: Store, change: Change) -> list[int]:
    """Sizes of all files, but bytecode, of what did not have to come."""
    came = {one.about.project for one in change.ingested}
    sizes: list[int] = []
    for one in change.after.distributions:
        if one.project not in came:
            with contextlib.suppress(StoreDamaged):  # which is no reason to say that nothing has changed
                manifest = read_manifest(store, one.files.manifest)
                sizes += [file.size for file in manifest.iter_files() if not is_bytecode(file.path)]
    return sizes


def describe_new(ingested: Sequence[Ingested]) -> str:
    """What wheels brought that the pool did not have."""
    files, size = sum(one.new_files for one in ingested), sum(one.new_bytes for one in ingested)
    return "new to the pool: " + (f"{format_count(files, 'file')}, {format_size(size)}" if files else "nothing")


def say_change(arguments: argparse.Namespace, environment: Environment, before: Generation | None, after: Generation) -> None:
    """Say, as it is wanted, which distributions came, went or changed."""
    if arguments.json:
        say_json(describe_change(environment, before, after))
    else:
        say_difference(before, after)


def say_difference(before: Generation | None, after: Generation) -> None:
    """One line for each distribution that came, went or changed: +, - or ~."""
    for old, new in iter_differences(before, after):
        say(format_difference(old, new))


def describe_change(environment: Environment, before: Generation | None, after: Generation) -> dict[str, object]:
    """For programs: what became of an environment. Before is null for what came, after for what went."""
    changes = [
        {
            "name": new.name if new else old.name if old else None,
            "before": old.version if old else None,
            "after": new.version if new else None,
            "origin": new.origin if new else None,
        }
        for old, new in iter_differences(before, after)
    ]
    return {"environment": environment.name, "generation": after.number, "changes": changes}


Difference = tuple[Distribution | None, Distribution | None]


def iter_differences(before: Generation | None, after: Generation) -> Iterator[Difference]:
    """Each distribution that came, went or changed, by its project: as it was and as it is."""
    olds = {one.project: one for one in before.distributions} if before else {}
    news = {distribution.project: distribution for distribution in after.distributions}
    for project in sorted(olds.keys() | news.keys()):
        old, new = olds.get(project), news.get(project)
        if old is None or new is None or _identity(old) != _identity(new):
            yield old, new


def _identity(distribution: Distribution) -> tuple[str, ...]:
    return distribution.version, distribution.wheel, distribution.installation.manifest


def format_difference(was: Distribution | None, now: Distribution | None) -> str:
    """One line for a distribution that came, went or changed."""
    if was is None or now is None:
        distribution = was or now
        sign = "+" if now else "-"
        return f"{sign} {distribution.name} {distribution.version}" if distribution else ""
    if was.version != now.version:
        return f"~ {now.name} {was.version} -> {now.version}"
    return f"~ {now.name} {now.version} (from {now.origin})"

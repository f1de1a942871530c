"""Adopt: an environment is made of a virtual environment that pip, uv or Poetry filled, which is only read.

To whoever looks from here it is an upper layer over an environment that has nothing in it: so each distribution is taken over, or refused,
just as one that a tool installed into a mount (`absorb`). Nothing refers to what is published meanwhile; then one generation has it all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from casfs.changes.absorb import Decision, decide
from casfs.changes.absorbed import AbsorbOptions
from casfs.changes.changes import first_generation, next_generation
from casfs.changes.existing import Existing, Left, find_left, read_mount_records
from casfs.errors import EnvironmentRefused
from casfs.interpreters.interpreter import Interpreter
from casfs.store.environments import Environment
from casfs.store.generations import Distribution, Generation
from casfs.upper.installed import site_packages
from casfs.upper.merged import MergedView
from casfs.upper.upper_conflicts import refuse_touched
from casfs.upper.written import UpperDirectory
from casfs.venv.bytecode.bytecode import MakeBytecode, leave_as_they_are
from casfs.venv.reading import LayerReader
from casfs.venv.tree import Tree


@dataclass(frozen=True, slots=True)
class Adoption:
    """What `adopt` did."""

    before: Generation | None
    after: Generation
    files: int  # that distributions brought
    refused: Sequence[EnvironmentRefused]  # distributions that are left alone
    left: Sequence[Left]  # what is in no distribution
    notes: Sequence[str]  # about what was taken over


def refuse_full(environment: Environment) -> Generation | None:
    """The current generation, which has nothing in it, or None. Raises EnvironmentRefused if it has distributions."""
    current = environment.current()
    if current is not None and (count := len(current.distributions)):
        have = "a distribution" if count == 1 else f"{count} distributions"
        raise EnvironmentRefused(environment.name, f"has {have} already; choose another environment with --env")
    return current


_BY_DEFAULT = AbsorbOptions()


def adopt(
    environment: Environment,
    interpreter: Interpreter,
    existing: Existing,
    upper_directory: UpperDirectory,
    options: AbsorbOptions = _BY_DEFAULT,
    *,
    make_bytecode: MakeBytecode = leave_as_they_are,
) -> Adoption:
    """Publish a generation that has every distribution whose files are as its RECORD says.

    Raises EnvironmentRefused, StoreDamaged, OSError; the environment is then what it was, and if it was not, it is not.
    """
    before = refuse_full(environment)
    if interpreter.python_directory != existing.python_directory:
        reason = f"has packages for {existing.python_directory}, but {interpreter.executable} is {interpreter.python_directory}"
        raise EnvironmentRefused(existing.directory, reason)
    options = dataclasses.replace(
        options, prefixes={existing.directory, *read_mount_records(upper_directory), *options.prefixes}, may_be_linked=True
    )
    base = before or first_generation(environment, interpreter)
    view = MergedView(upper_directory, Tree(base), LayerReader(environment.store).fill, environment.store.pool)
    decision = decide(environment.store, view, options)
    decision.give_bytecode(environment.store, make_bytecode)
    distributions = tuple(one.distribution for one in decision.absorbed.values())
    if decision.refused and not distributions:
        raise EnvironmentRefused(existing.directory, *map(_one_line, decision.refused))
    site = site_packages(view)
    left = find_left(upper_directory, site, frozenset(_iter_taken(upper_directory, decision, site)))
    after = _publish(environment, before, base, existing, distributions)
    return Adoption(before, after, sum(len(one.paths) for one in decision.absorbed.values()), decision.refused, left, decision.notes())


def _one_line(error: EnvironmentRefused) -> str:
    return f"{error.subject}: {'; '.join(error.reasons)}"


def _iter_taken(upper_directory: UpperDirectory, decision: Decision, site: str) -> Iterator[str]:
    """The paths of all distributions, whether they were taken over or not, and of what looks like one and is not understood."""
    for one in decision.found:
        absorbed = decision.absorbed.get(one.project)
        yield from absorbed.paths if absorbed else one.rows
        yield f"{site}/{one.dist_info}/RECORD"
    strange = {f"{site}/{name}" for name in upper_directory.names.get(site, ()) if name.endswith(".dist-info")}
    strange -= {f"{site}/{one.dist_info}" for one in decision.found}
    yield from (path for path in upper_directory.entries if any(path == one or path.startswith(f"{one}/") for one in strange))


def _publish(
    environment: Environment, before: Generation | None, base: Generation, existing: Existing, distributions: tuple[Distribution, ...]
) -> Generation:
    with environment.locked():
        if environment.current_number() != (before.number if before else None):
            raise EnvironmentRefused(environment.name, "was changed by another process meanwhile")
        refuse_touched(environment, before, [distribution.project for distribution in distributions])
        command = f"adopt {existing.directory}".encode("utf-8", "backslashreplace").decode()
        after = next_generation(environment, base, command, distributions)
        environment.publish(after)
    return after

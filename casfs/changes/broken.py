"""Broken requirements: what a change leaves that does not get what it needs, as far as its METADATA says.

Only versions are compared, as with `pip install`: what was never there may not be wanted either, since wheel files are added as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from casfs.errors import StoreDamaged
from casfs.interpreters.interpreter import Interpreter
from casfs.store.generations import Distribution, Generation
from casfs.store.store import Store
from casfs.venv.described import iter_requirements, read_headers


@dataclass(frozen=True, slots=True)
class Broken:
    """A distribution, what it requires, and what is there instead."""

    needing: Distribution
    requirement: str
    found: Distribution | None  # None: what it requires was removed

    def __str__(self) -> str:
        distribution, other = self.needing, self.found
        what = f"{other.name} {other.version} is in the environment" if other else "that is not in the environment any more"
        return f"{distribution.name} {distribution.version} requires {self.requirement}, but {what}"


def find_broken(store: Store, before: Generation | None, after: Generation, interpreter: Interpreter) -> list[Broken]:
    """Requirements that a change broke: those of what came, and those of others for what came or went.

    What can't be read is passed over.
    """
    present: dict[str, Distribution | None] = {one.project: one for one in after.distributions}
    old = {distribution.project: distribution.version for distribution in before.distributions} if before else {}
    came = {one.project for one in after.distributions if old.get(one.project) != one.version}
    gone = old.keys() - present.keys()
    if not came and not gone:
        return []
    present |= dict.fromkeys(gone)
    found = []
    for one in after.distributions:
        with contextlib.suppress(StoreDamaged, OSError):  # `casfs fsck` is there to say it
            relevant = present.keys() if one.project in came else came | gone
            found += [*_iter_broken(store, one, {name: present[name] for name in relevant}, interpreter)]
    return found


def _iter_broken(
    store: Store, distribution: Distribution, relevant: Mapping[str, Distribution | None], interpreter: Interpreter
) -> Iterator[Broken]:
    markers = {**dict(interpreter.markers), "extra": ""}
    for requirement, project in iter_requirements(read_headers(store, distribution), relevant):
        if requirement.marker is not None and not requirement.marker.evaluate(markers):
            continue
        other = relevant[project]
        if other is None or not requirement.specifier.contains(other.version, prereleases=True):
            yield Broken(distribution, f"{requirement.name}{requirement.specifier}", other)

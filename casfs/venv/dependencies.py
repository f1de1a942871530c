"""Who requires whom in an environment, extras and markers considered: the graph that `tree` and `why` walk."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from casfs.errors import StoreDamaged
from casfs.store.generations import Distribution, Generation
from casfs.store.store import Store
from casfs.venv.described import Headers, iter_requirements, markers_of, read_headers


@dataclass(frozen=True, slots=True)
class Dependency:
    """One requirement of a distribution, as it counts in this environment."""

    by: str  # project
    project: str
    specifier: str  # such as ">=2,<3"; empty: any version
    extras: tuple[str, ...] = ()  # of the project, that are wanted too


class DependencyGraph:
    """What the distributions of a generation require. METADATA that can't be read is passed over: `casfs fsck` says what is wrong.

    `requires` gives what a distribution requires, with the extras with which others want it, sorted by project.
    """

    def __init__(self, store: Store, generation: Generation) -> None:
        self.distributions: Mapping[str, Distribution] = {distribution.project: distribution for distribution in generation.distributions}
        self._store = store
        self._markers = markers_of(generation.interpreter)
        self._headers = functools.cache(self._read)
        self._wanted = self._find_extras()
        self.requires = functools.cache(self._require)

    def _require(self, project: str) -> list[Dependency]:
        return sorted(set(self._iter_required(project, self._wanted.get(project, frozenset()))), key=lambda one: one.project)

    def required_by(self, project: str) -> list[Dependency]:
        """Who requires a project, sorted by who it is."""
        dependencies = [dependency for by in self.distributions for dependency in self.requires(by) if dependency.project == project]
        return sorted(dependencies, key=lambda one: one.by)

    def roots(self) -> list[str]:
        """Projects that no other requires. Of a circle that hangs on nothing, the first by name."""
        required = {dependency.project for by in self.distributions for dependency in self.requires(by) if dependency.project != by}
        found = [project for project in sorted(self.distributions) if project not in required]
        seen = set(found)
        for project in found:
            seen |= self._reach(project)
        for project in sorted(self.distributions):
            if project not in seen:
                found.append(project)
                seen |= {project, *self._reach(project)}
        return sorted(found)

    def _reach(self, project: str) -> set[str]:
        seen: set[str] = set()
        todo = [project]
        while todo:
            for dependency in self.requires(todo.pop()):
                if dependency.project not in seen and dependency.project in self.distributions:
                    seen.add(dependency.project)
                    todo.append(dependency.project)
        return seen

    def _read(self, project: str) -> Headers:
        with contextlib.suppress(StoreDamaged, OSError):
            return read_headers(self._store, self.distributions[project])
        return {}

    def _iter_required(self, project: str, extras: frozenset[str]) -> Iterator[Dependency]:
        if project not in self.distributions:
            return
        for requirement, wanted in iter_requirements(self._headers(project)):
            contexts: Sequence[str] = ["", *sorted(extras)]
            if requirement.marker is None or any(requirement.marker.evaluate({**self._markers, "extra": extra}) for extra in contexts):
                yield Dependency(project, wanted, str(requirement.specifier), tuple(sorted(requirement.extras)))

    def _find_extras(self) -> dict[str, frozenset[str]]:
        """The extras with which each project is wanted by another; what an extra requires may want further ones."""
        wanted: dict[str, frozenset[str]] = {}
        todo = sorted(self.distributions)
        while todo:
            for dependency in self._iter_required(project := todo.pop(), wanted.get(project, frozenset())):
                before = wanted.get(dependency.project, frozenset())
                if (after := before | set(dependency.extras)) != before:
                    wanted[dependency.project] = after
                    todo.append(dependency.project)
        return wanted

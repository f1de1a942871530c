"""Hashes that were asked for: they guide which file of a project is taken, and no other file is.

A lock that a resolver has made says what an index offers, and that is compared with what requirements say. A hash of which it has no word
(SHA-512, where the index says only SHA-256) stays to be compared with the file itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from casfs.errors import FetchFailed
from casfs.lockfiles.lines import Hash, Kind, Line, real_place
from casfs.lockfiles.lockfile import Locked
from casfs.venv.origins import parse_archive


@dataclass(frozen=True)
class Asked:
    """What requirements ask for on one interpreter."""

    lines: Sequence[Line]
    markers: Mapping[str, str]
    are_hashes_required: bool = False  # of everything, by an option or a variable

    @cached_property
    def projects(self) -> Mapping[str, str | None]:
        """By canonical name: versions that will do, as PEP 440 writes them; None: a path or URL says which."""
        found: dict[str, str | None] = {}
        for line in self.lines:
            if line.kind is Kind.ASKED and line.project:
                before = found.get(line.project, "")
                both = ",".join(one for one in (before, line.specifiers) if one)
                found[line.project] = None if line.specifiers is None or before is None else both
        return found

    @property
    def places(self) -> set[str]:
        """Paths and URLs of what has no name."""
        return {line.place for line in self.lines if line.kind is Kind.ASKED and not line.project}

    @property
    def has_hashes(self) -> bool:
        """Whether anything says a hash."""
        return any(line.groups for line in self.lines)

    @cached_property
    def _by_project(self) -> Mapping[str, Sequence[Line]]:
        """By canonical name, or by place if there is no name."""
        found: dict[str, list[Line]] = {}
        for line in self.lines:
            found.setdefault(line.project or real_place(line.place), []).append(line)
        return found

    @cached_property
    def are_all_required(self) -> bool:
        """As with pip, all files must have hashes if one has; not because of the hash in one's URL."""
        return self.are_hashes_required or any(line.hashes for line in self.lines)

    def allows(self, project: str, version: str) -> bool:
        """Whether a version of a project will do for what is asked for, other projects aside."""
        from packaging.specifiers import SpecifierSet

        specifiers = self.projects.get(project, "")
        return specifiers is not None and SpecifierSet(specifiers).contains(version, prereleases=True)

    def must_be_compared(self, project: str, origin: str) -> bool:
        """Whether a project that is there has to show that it is what was asked for."""
        return any(line.groups for line in self._lines(project, "", parse_archive(origin).place))

    def prefers(self, project: str, version: str, place: str, hashes: Iterable[Hash]) -> bool:
        """Whether a file that an index offers has one of each set of hashes that are given for its project."""
        found = {*hashes}
        groups = [group for line in self._lines(project, version, place) for group in line.groups]
        return bool(groups) and all(group & found for group in groups)

    def compare(self, locked: Sequence[Locked], lines: Sequence[Line] | None = None) -> list[Locked]:
        """The files that are locked, with what is still to be compared once there are files. `lines`: those that were resolved, if not all.

        Raises FetchFailed with everything that has no hash, or not the right one.
        """
        compared = [(self._compare(one), one) for one in locked]
        places = {real_place(one.place) for one in locked}
        reasons = [f"{one.project}: {found}" for found, one in compared if isinstance(found, str)]
        for line in self.lines if lines is None else lines:
            is_unnamed = line.groups and not line.project and line.is_for(self.markers)
            if is_unnamed and real_place(line.place) not in places:
                reasons.append(f"{line.where}: it is not clear which file its hash is of; write `NAME @ URL`")
        if reasons:
            raise FetchFailed("requirements with hashes", *reasons)
        return [one for one, _ in compared if isinstance(one, Locked)]

    def refuse_bare(self, lines: Sequence[Line]) -> None:
        """Raises FetchFailed with each requirement that has no hash and needs one, before anybody looks for it."""
        if not self.are_all_required:
            return
        bare = [line for line in lines if line.is_of_file and line.is_for(self.markers) and not self._has_hash(line)]
        if bare:
            raise FetchFailed(
                "requirements with hashes", *(f"{one.project or one.place}: no hash is given for it in {one.where}" for one in bare)
            )

    def _has_hash(self, line: Line) -> bool:
        others = self._by_project[line.project] if line.project else [line]
        return any(_is_strong(group) for other in others for group in other.groups)

    def _compare(self, one: Locked) -> Locked | str:
        """What is locked with its checks, or why it can't be had."""
        lines = self._lines(one.project, one.version, one.place)
        groups = [(group, line.where) for line in lines for group in line.groups]
        if not one.is_file:
            why = f"comes from a {one.form.value}, which has no single file that could have a hash"
            return why if groups or self.are_hashes_required else one
        if self.are_all_required and not any(_is_strong(group) for group, _ in groups):
            return "no hash is given for it"
        known = {("sha256", str(one.digest))} if one.digest else set()
        for group, where in groups:
            if one.digest and not group & known and {algorithm for algorithm, _ in group} == {"sha256"}:
                return f"its SHA-256 {one.digest} is not one of those of {where}"
        return replace(one, checks=tuple(group for group, _ in groups if not group & known)) if groups else one

    def _lines(self, project: str, version: str, place: str) -> list[Line]:
        lines = (*self._by_project.get(project, ()), *(self._by_project.get(real_place(place), ()) if place else ()))
        return [line for line in lines if _is_about(line, version) and line.is_for(self.markers)]


def _is_strong(group: frozenset[Hash]) -> bool:
    from casfs.digest import is_collision_resistant

    return all(is_collision_resistant(algorithm) for algorithm, _ in group)


def _is_about(line: Line, version: str) -> bool:
    """Whether a line says anything of this version: requirements to warm a pool with may name several of one project."""
    from packaging.specifiers import SpecifierSet

    return not version or not line.specifiers or SpecifierSet(line.specifiers).contains(version, prereleases=True)

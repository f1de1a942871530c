"""Requirements as people type them: which projects they name, and which hashes. What they mean otherwise is the resolver's business.

uv resolves files with hashes but does not compare them, so that is done here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from casfs.errors import FetchFailed
from casfs.venv.locks.locks import Locked

_NESTED = ("-r", "--requirement", "--requirements")
_HASH = re.compile(r"--hash[= ]\s*([A-Za-z0-9]+):([0-9A-Fa-f]+)")


@dataclass(frozen=True, slots=True)
class Asked:
    """What requirements name."""

    projects: Mapping[str, str | None]  # by canonical name: versions that will do, as PEP 440 writes them; None: a URL says which
    hashes: Mapping[str, Collection[str]]  # by project: SHA-256 that a file of it may have; empty if only other kinds are given
    places: Collection[str] = ()  # what names no project, but a path or URL

    def allows(self, project: str, version: str) -> bool:
        """Whether a version of a project will do for what is asked for, other projects aside."""
        from packaging.specifiers import SpecifierSet

        specifiers = self.projects.get(project, "")
        return specifiers is not None and SpecifierSet(specifiers).contains(version, prereleases=True)


def read_asked(lines: Sequence[str], files: Sequence[str]) -> Asked:
    """What requirement lines and requirements files name."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    projects: dict[str, str | None] = {}
    hashes: dict[str, set[str]] = {}
    places: set[str] = set()
    for line in (*lines, *iter_requirements(files)):
        try:
            requirement = Requirement(re.split(r"\s--", line, maxsplit=1)[0].strip())
        except InvalidRequirement:
            places.add(line)
            continue
        project = canonicalize_name(requirement.name)
        before = projects.get(project, "")
        both = ",".join(one for one in (before, str(requirement.specifier)) if one)
        projects[project] = None if requirement.url or before is None else both
        if found := _HASH.findall(line):
            hashes.setdefault(project, set()).update(value.lower() for kind, value in found if kind.lower() == "sha256")
    return Asked(projects, hashes, places)


Tell = Callable[[str, str], None]
"""Called with the path of a file and a line of it that is an option."""


def iter_requirements(files: Sequence[str], tell: Tell | None = None) -> Iterator[str]:
    """Each requirement of some requirements files. Files that can't be read have none, and options are passed over: a resolver reads them.

    With `tell` nobody else reads the files: it gets the options, and a file that can't be read raises OSError.
    """
    for file in files:
        yield from _iter_lines(file, [], tell)


def _iter_lines(path: str, above: list[str], tell: Tell | None) -> Iterator[str]:
    """Requirements in a file and in those that it includes, without comments."""
    path = os.path.abspath(path)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read().replace("\\\n", " ")
    except OSError:  # the resolver says so
        if tell:
            raise
        return
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        option, _, value = line.replace("=", " ", 1).partition(" ")
        if option in _NESTED:
            nested = os.path.abspath(os.path.join(os.path.dirname(path), value.strip()))
            if nested not in (*above, path):
                yield from _iter_lines(nested, [*above, path], tell)
        elif line and not line.startswith("-"):
            yield line
        elif line and tell:
            tell(path, line)


def refuse_other_hashes(asked: Asked, locked: Sequence[Locked]) -> None:
    """As with pip, all files must have hashes if one has, and each must have one of its own. Raises FetchFailed with all that have not."""
    if not asked.hashes:
        return
    reasons = [
        f"{one.project}: {f'its SHA-256 {one.digest} is none of those' if one.project in asked.hashes else 'no hash is given for it'}"
        for one in locked
        if one.digest not in asked.hashes.get(one.project, ())
    ]
    if reasons:
        raise FetchFailed("requirements with hashes", *reasons)

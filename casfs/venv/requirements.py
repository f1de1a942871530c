"""Requirements as people type them: which projects they name, and which hashes. What they mean otherwise is the resolver's business.

uv resolves files with hashes but does not compare them, so that is done here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from casfs.errors import FetchFailed
from casfs.venv.locks import Locked

_NESTED = ("-r", "--requirement", "--requirements")
_HASH = re.compile(r"--hash[= ]\s*([A-Za-z0-9]+):([0-9A-Fa-f]+)")


@dataclass(frozen=True, slots=True)
class Asked:
    """What requirements name."""

    projects: Collection[str]  # canonical names
    hashes: Mapping[str, Collection[str]]  # by project: SHA-256 that a file of it may have; empty if only other kinds are given


def read_asked(lines: Sequence[str], files: Sequence[str]) -> Asked:
    """What requirement lines and requirements files name. A line that names no project is passed over."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    projects: set[str] = set()
    hashes: dict[str, set[str]] = {}
    for line in (*lines, *iter_requirements(files)):
        try:
            project = canonicalize_name(Requirement(re.split(r"\s--", line, maxsplit=1)[0].strip()).name)
        except InvalidRequirement:
            continue
        projects.add(project)
        if found := _HASH.findall(line):
            hashes.setdefault(project, set()).update(value.lower() for kind, value in found if kind.lower() == "sha256")
    return Asked(projects, hashes)


def iter_requirements(files: Sequence[str]) -> Iterator[str]:
    """Each requirement of some requirements files. Files that can't be read have none, and options are passed over."""
    for file in files:
        yield from _iter_lines(file, [])


def _iter_lines(path: str, above: list[str]) -> Iterator[str]:
    """Requirements in a file and in those that it includes, without comments."""
    path = os.path.abspath(path)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read().replace("\\\n", " ")
    except OSError:  # the resolver says so
        return
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        option, _, value = line.replace("=", " ", 1).partition(" ")
        if option in _NESTED:
            nested = os.path.abspath(os.path.join(os.path.dirname(path), value.strip()))
            if nested not in (*above, path):
                yield from _iter_lines(nested, [*above, path])
        elif line and not line.startswith("-"):
            yield line


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

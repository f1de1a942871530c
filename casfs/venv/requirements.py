"""Requirements as people type them: which projects they name. What they mean otherwise is the resolver's business."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

_NESTED = ("-r", "--requirement", "--requirements")


def find_requested(lines: Sequence[str], files: Sequence[str]) -> frozenset[str]:
    """Canonical names of the projects that requirement lines and requirements files name. A line that names none is passed over."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    found = set()
    for line in (*lines, *(line for file in files for line in _iter_lines(file, []))):
        try:
            found.add(canonicalize_name(Requirement(line).name))
        except InvalidRequirement:
            continue
    return frozenset(found)


def _iter_lines(path: str, seen: list[str]) -> Iterator[str]:
    """Requirements in a file and those that it includes, without comments and options for single requirements."""
    path = os.path.abspath(path)
    if path in seen:
        return
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read().replace("\\\n", " ")
    except OSError:  # the resolver says so
        return
    for line in text.splitlines():
        line = line.partition(" #")[0].partition(" --")[0].strip()
        option, _, value = line.replace("=", " ", 1).partition(" ")
        if option in _NESTED:
            yield from _iter_lines(os.path.join(os.path.dirname(path), value.strip()), [*seen, path])
        elif line and not line.startswith(("-", "#")):
            yield line

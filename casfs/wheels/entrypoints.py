"""Entry points that become launchers in bin/. (Entry points specification.)"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass

from casfs.paths import path_problem
from casfs.wheels.problems import Problems, quote

# A line is about 40 bytes; no project has 25,000 commands.
MAX_ENTRY_POINTS = 1 << 20

_GROUPS = ("console_scripts", "gui_scripts")
_REFERENCE = re.compile(r"(?P<module>[\w.]+)\s*:\s*(?P<attribute>[\w.]+)\s*(\[[^\]]*\])?")


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """A launcher to make: bin/`name` calls `attribute` (maybe dotted) of `module`."""

    name: str
    module: str
    attribute: str
    is_gui: bool


def parse_entry_points(content: bytes, member: str, problems: Problems) -> tuple[EntryPoint, ...]:
    """The launchers that entry_points.txt asks for, sorted by name. What is wrong with them goes to `problems`."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        problems.add(member, "is not UTF-8")
        return ()
    found: dict[str, EntryPoint] = {}
    for group, line in _iter_lines(text):
        if "=" not in line:
            problems.add(member, f"has a line that is not an entry point: {quote(line)}")
            continue
        entry_point = _parse_line(group, line, member, problems) if group in _GROUPS else None
        if entry_point is None:
            continue
        first = found.setdefault(entry_point.name, entry_point)
        if (first.module, first.attribute) != (entry_point.module, entry_point.attribute):
            problems.add(member, f"names two things {quote(entry_point.name)}")
    return tuple(found[name] for name in sorted(found))


def _iter_lines(text: str) -> Iterator[tuple[str, str]]:
    """Group and text of each line as importlib.metadata reads it, which pip and the programs themselves use, and not as an INI file.

    So an indented line is a line of its own, and nothing is substituted. One line without a "=" makes importlib.metadata fail for the whole
    environment, in whatever group it stands.
    """
    group = None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line.strip("[]")
        elif line and not line.startswith("#") and group is not None:
            yield group, line


def _parse_line(group: str, line: str, member: str, problems: Problems) -> EntryPoint | None:
    name, _, value = map(str.strip, line.partition("="))
    if problem := _name_problem(name):
        problems.add(member, f"the entry point {quote(name)} {problem}")
        return None
    reference = _REFERENCE.fullmatch(value)
    if not reference or not _is_dotted_name(reference["module"]) or not _is_dotted_name(reference["attribute"]):
        problems.add(member, f"the entry point {quote(name)} refers to {quote(value)}, which is not MODULE:ATTRIBUTE")
        return None
    return EntryPoint(name, reference["module"], reference["attribute"], group == "gui_scripts")


def _name_problem(name: str) -> str | None:
    """A launcher is one file directly in bin/."""
    return "has a path for a name" if "/" in name else path_problem(name)


def _is_dotted_name(text: str) -> bool:
    """It is pasted into a program, so nothing else may be in it."""
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in text.split("."))

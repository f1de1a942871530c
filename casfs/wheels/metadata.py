"""What METADATA and WHEEL say, as far as casfs needs it."""

from __future__ import annotations

import codecs
import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casfs.wheels.filename import WheelFilename
from casfs.wheels.problems import Problems, quote

if TYPE_CHECKING:
    from packaging.requirements import Requirement

# METADATA holds the whole README; the longest seen has about 1 MB.
MAX_METADATA = 8 << 20
# WHEEL lists tags, a line each.
MAX_WHEEL = 1 << 20
# A README in a header (as before Metadata 2.1) has some thousand lines.
_MAX_HEADER_LINES = 100_000
# The largest of the known ones, with all extras, has some hundred requirements of some hundred characters.
_MAX_REQUIREMENTS = 10_000
_MAX_VALUE = 10_000

# As the parser of `email`, which other installers use: other line ends are part of a line, and a line that is no header ends the headers.
_LINE_END = re.compile(r"\r\n|\r|\n")
_HEADER = re.compile(r"([!-9;-~]+):(.*)")

_OLD_SPELLINGS = tuple(
    (re.compile(old), new)
    for old, new in (
        (r"([*\d])['\"](?=[\s,;)]|$)", r"\1"),  # >=3.6'
        (r"(?<=[<>=~!])(\s*)['\"](?=[*\d])", r"\1"),  # >='3.6
        (r"(\d)\s*([<>=~!]=|[<>])", r"\1,\2"),  # >=7.2<8
        (r"!=~(\d+(?:\.\d+)*)", r"!=\1.*"),
        (r"(<=|>=|<|>)(\s*\d+(?:\.\d+)*)\.\*", r"\1\2"),  # >=1.9.*
        (r"(\d\.\d+)\*", r"\1.*"),  # !=3.0*
        (r">dev", ">0.0.0dev"),
        (r",(\s*(?:[;)]|$))", r"\1"),  # >=3.6,
    )
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What describes the project."""

    name: str
    """As its authors spell it."""
    requires_python: str | None
    """None: any Python will do, or the field is no version specifier, and then pip ignores it too."""


def parse_headers(content: bytes) -> dict[str, list[str]]:
    """Values of each header, keyed by its name in lower case. Never fails; text that is not UTF-8 is in no header that matters."""
    return _read_headers(content)[0]


def _read_headers(content: bytes) -> tuple[dict[str, list[str]], bool]:
    """The headers, and whether these are all. A byte order mark is part of the first line, which is no header then."""
    headers: dict[str, list[list[str]]] = {}
    lines: list[str] | None = None
    number = 0
    for number, line in enumerate(_LINE_END.split(content.decode("utf-8", "replace"), maxsplit=_MAX_HEADER_LINES)):
        if line[:1] in (" ", "\t") and lines:
            lines.append(line.strip())
        elif number < _MAX_HEADER_LINES and (header := _HEADER.match(line)):
            lines = [header[2].strip()]
            headers.setdefault(header[1].lower(), []).append(lines)
        else:
            break
    values = {name: [" ".join(filter(None, lines)) for lines in found] for name, found in headers.items()}
    return values, number < _MAX_HEADER_LINES


def parse_metadata(content: bytes, member: str, filename: WheelFilename, problems: Problems) -> Metadata:
    """Name and Requires-Python. What METADATA says of another project or version, or what no installer can read, goes to `problems`."""
    headers, is_whole = _read_headers(content)
    if not is_whole:
        problems.add(member, f"has more than {_MAX_HEADER_LINES} lines of headers")
    if content.startswith(codecs.BOM_UTF8):
        problems.add(member, "begins with a byte order mark, so no installer finds a header in it")
        return Metadata("", None)
    name = _single(headers, "Name", member, problems)
    version = _single(headers, "Version", member, problems)
    if name and version and not filename.is_about(name, version):
        problems.add(member, f"is about {quote(f'{name} {version}')}, but the file name says {filename.project} {filename.version}")
    _check_requirements(headers.get("requires-dist", []), member, problems)
    return Metadata(name, _parse_requires_python(headers, member, problems))


def _check_requirements(lines: Sequence[str], member: str, problems: Problems) -> None:
    if len(lines) > _MAX_REQUIREMENTS:
        problems.add(member, f"has {len(lines)} lines Requires-Dist; the limit is {_MAX_REQUIREMENTS}")
        return
    for line in lines:
        if parse_requirement(line) is None:
            problems.add(member, f"has a line that is not a requirement: {quote(f'Requires-Dist: {line}')}")


def parse_requirement(line: str) -> Requirement | None:
    """What a line of Requires-Dist means, also if it is written as it was before PEP 440; None if nobody can tell."""
    from packaging.requirements import Requirement

    for text in (line, _modernise(line)) if len(line) <= _MAX_VALUE else ():
        with contextlib.suppress(ValueError, RecursionError):  # InvalidRequirement; a number so long, or parentheses so deep
            return Requirement(text)
    return None


def _modernise(line: str) -> str:
    """What old wheels say, as it is written now; uv reads them alike."""
    versions, semicolon, marker = line.partition(";")
    for old, new in _OLD_SPELLINGS:
        versions = old.sub(new, versions)
    return versions + semicolon + marker


def check_wheel_version(content: bytes, member: str, problems: Problems) -> None:
    """Only format 1 is known: a later major version may mean anything."""
    version = _single(parse_headers(content), "Wheel-Version", member, problems)
    if version and not re.fullmatch(r"1\.[0-9]+", version):
        problems.add(member, f"has Wheel-Version {quote(version)}; only 1.x is known")


def _single(headers: dict[str, list[str]], key: str, member: str, problems: Problems) -> str:
    values = headers.get(key.lower(), [])
    if len(values) != 1 or not values[0]:
        problems.add(member, f"must have one {key}, but has {len(values)}" if len(values) != 1 else f"has an empty {key}")
        return ""
    return values[0]


def _parse_requires_python(headers: dict[str, list[str]], member: str, problems: Problems) -> str | None:
    from packaging.specifiers import SpecifierSet

    values = headers.get("requires-python", [])
    if values and len(values[0]) > _MAX_VALUE:
        problems.add(member, f"has a Requires-Python of {len(values[0])} characters; the limit is {_MAX_VALUE}")
        return None
    try:
        return str(SpecifierSet(values[0])) or None if values else None
    except ValueError:  # InvalidSpecifier, or a number so long that Python does not read it
        return None

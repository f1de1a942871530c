"""What METADATA and WHEEL say, as far as casfs needs it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from casfs.wheels.filename import WheelFilename
from casfs.wheels.problems import Problems, quote

# METADATA holds the whole README; the longest seen has about 1 MB.
MAX_METADATA = 8 << 20
# WHEEL lists tags, a line each.
MAX_WHEEL = 1 << 20

# As the parser of `email`, which other installers use: other line ends are part of a line, and a line that is no header ends the headers.
_LINE_END = re.compile(r"\r\n|\r|\n")
_HEADER = re.compile(r"([!-9;-~]+):(.*)")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What describes the project."""

    name: str
    """As its authors spell it."""
    requires_python: str | None
    """None: any Python will do, or the field is no version specifier, and then pip ignores it too."""


def parse_headers(content: bytes) -> dict[str, list[str]]:
    """Values of each header, keyed by its name in lower case. Never fails; text that is not UTF-8 is in no header that matters."""
    headers: dict[str, list[str]] = {}
    values: list[str] | None = None
    for line in _LINE_END.split(content.decode("utf-8-sig", "replace")):
        if line[:1] in (" ", "\t") and values:
            values[-1] = f"{values[-1]} {line.strip()}".strip()
        elif header := _HEADER.match(line):
            values = headers.setdefault(header[1].lower(), [])
            values.append(header[2].strip())
        else:
            break
    return headers


def parse_metadata(content: bytes, member: str, filename: WheelFilename, problems: Problems) -> Metadata:
    """Name and Requires-Python. That METADATA is about another project or version than the file name goes to `problems`."""
    headers = parse_headers(content)
    name = _single(headers, "Name", member, problems)
    version = _single(headers, "Version", member, problems)
    if name and version and not filename.is_stem(f"{name}-{version}"):
        problems.add(member, f"is about {quote(f'{name} {version}')}, but the file name says {filename.project} {filename.version}")
    return Metadata(name, _parse_requires_python(headers))


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


def _parse_requires_python(headers: dict[str, list[str]]) -> str | None:
    from packaging.specifiers import SpecifierSet

    values = headers.get("requires-python", [])
    try:
        return str(SpecifierSet(values[0])) or None if values else None
    except ValueError:  # InvalidSpecifier, or a number so long that Python does not read it
        return None

"""Lines of requirements files: what each asks for, as a resolver gets it, and which hashes it gives."""

from __future__ import annotations

import os
import posixpath
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn

from casfs.digest import RECORD_ALGORITHMS, is_hash_algorithm, parse_hash
from casfs.errors import InvalidValue, LockRefused, WheelRefused
from casfs.venv.origins import as_url

Hash = tuple[str, str]
"""Algorithm and value, in lower case."""

_ARCHIVES = (".whl", ".zip", ".tar", ".tgz", ".tbz", ".txz", ".tlz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.lz", ".tar.lzma", ".tar.zst")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|file:")
_PLACE = re.compile(r"(?P<place>.+?)(?P<extras>\[[^\[\]]*\])?(?:\s+;\s*(?P<marker>.+))?")


class Kind(Enum):
    """What a line is for."""

    ASKED = "requirement"
    CONSTRAINT = "constraint"
    OVERRIDE = "override"


@dataclass(frozen=True, slots=True)
class Line:
    """One requirement. Its hashes are in no text that anybody else reads."""

    where: str  # file and line, or what was typed
    text: str
    kind: Kind
    project: str = ""  # canonical; "": only who builds it knows
    specifiers: str | None = None  # versions that will do, as PEP 440 writes them; None: a path or URL says which
    place: str = ""  # absolute path, or URL without fragment
    marker: str = ""
    hashes: frozenset[Hash] = frozenset()  # a file must have one of these, if there are any
    fragments: tuple[Hash, ...] = ()  # and each of these
    is_editable: bool = False

    @property
    def groups(self) -> list[frozenset[Hash]]:
        """Sets of hashes of which a file must have one each."""
        return [*([self.hashes] if self.hashes else []), *(frozenset({one}) for one in self.fragments)]

    @property
    def text_with_hashes(self) -> str:
        """For who compares hashes as well, as far as uv knows their algorithms."""
        told = self.hashes or {one for one in self.fragments if one[0] in {*RECORD_ALGORITHMS, "md5"}}
        return " ".join([self.text, *(f"--hash={algorithm}:{value}" for algorithm, value in sorted(told))])

    @property
    def is_of_file(self) -> bool:
        """Whether what comes of it is a single file, which can have a hash, as far as the line shows."""
        path = urllib.parse.urlsplit(self.place).path if "://" in self.place else self.place
        return self.specifiers is not None or (not self.is_editable and "+" not in self.place.partition(":")[0] and _is_archive(path))

    @property
    def is_pinned(self) -> bool:
        """Whether only one version, or the file at a path or URL, will do."""
        return self.specifiers is None or (self.specifiers.startswith("==") and not {",", "*"} & {*self.specifiers})

    def is_for(self, markers: Mapping[str, str]) -> bool:
        """Whether it says anything on an interpreter."""
        from packaging.markers import Marker

        return not self.marker or Marker(self.marker).evaluate({"extra": "", **markers})


def refuse_line(where: str, reason: str) -> NoReturn:
    """Raises LockRefused."""
    raise LockRefused(where, reason)


def real_place(place: str) -> str:
    """A URL as it is, a path without links: the same for all paths or URLs of one file."""
    return place if "://" in place else os.path.realpath(place)


def parse_requirement(text: str, hashes: Sequence[str], where: str, kind: Kind) -> Line:
    """A requirement as PEP 508 writes it, or a path or URL. Raises LockRefused."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    given = frozenset(_parse_hash(hash_, where) for hash_ in hashes)
    if "--hash" in text:
        refuse_line(where, "--hash stands in a requirement; put a space before it")
    if _is_place(text):
        return _parse_record(text, given, where, kind)
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        refuse_line(where, f"is not a requirement, a path or a URL: {str(error).splitlines()[0]}")
    project, marker = canonicalize_name(requirement.name), str(requirement.marker or "")
    if not requirement.url:
        return Line(where, str(requirement), kind, project, str(requirement.specifier), "", marker, given)
    url, place, fragments = _parse_url(requirement.url, where, has_hashes=bool(given))
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    shown = f"{requirement.name}{extras} @ {url}" + (f" ; {marker}" if marker else "")
    return Line(where, shown, kind, project, None, place, marker, given, fragments)


def parse_editable(text: str, hashes: Sequence[str], where: str, kind: Kind) -> Line:
    """A project to be used where it is: there is no file to hash. Raises LockRefused."""
    if hashes:
        refuse_line(where, "an editable project has no single file that could have a hash")
    if kind is not Kind.ASKED:
        refuse_line(where, "an editable project is not a constraint")
    line = _parse_record(text, frozenset(), where, kind)
    if line.fragments:
        refuse_line(where, "an editable project has no single file that could have a hash")
    return Line(where, f"-e {line.text}", kind, place=line.place, marker=line.marker, is_editable=True)


def _is_place(text: str) -> bool:
    first = re.split(r"[\s\[;]", text, maxsplit=1)[0]
    if _SCHEME.match(text) or first.startswith((".", "/")):
        return True
    return "@" not in first and ("/" in first or _is_archive(first)) and not re.match(r"\S+\s+@", text)


def _is_archive(path: str) -> bool:
    return path.lower().endswith(_ARCHIVES)


def _parse_record(text: str, hashes: frozenset[Hash], where: str, kind: Kind) -> Line:
    from packaging.markers import InvalidMarker, Marker

    if kind is not Kind.ASKED:
        refuse_line(where, f"a {kind.value} needs a name: `NAME @ URL`")
    parts = _PLACE.fullmatch(text)
    if parts is None:
        refuse_line(where, "is not a path or a URL")
    try:
        marker = str(Marker(parts["marker"])) if parts["marker"] else ""
    except InvalidMarker as error:
        refuse_line(where, f"has no marker behind its semicolon: {str(error).splitlines()[0]}")
    url, place, fragments = _parse_url(parts["place"], where, has_hashes=bool(hashes))
    shown = url + (parts["extras"] or "") + (f" ; {marker}" if marker else "")
    return Line(where, shown, kind, _project_of(place), None, place, marker, hashes, fragments)


def _project_of(place: str) -> str:
    """The project of a wheel, which its file name says; else ""."""
    from casfs.wheels.filename import parse_wheel_filename

    path = urllib.parse.unquote(urllib.parse.urlsplit(place).path) if "://" in place else place
    try:
        return parse_wheel_filename(posixpath.basename(path)).project if path.endswith(".whl") else ""
    except WheelRefused:
        return ""


def _parse_url(text: str, where: str, *, has_hashes: bool) -> tuple[str, str, tuple[Hash, ...]]:
    """URL as a resolver gets it, without hashes; the place that it names; the hashes of its fragment."""
    if re.search(r"\s", text) and _SCHEME.match(text):
        refuse_line(where, "its URL has a space")
    if not _SCHEME.match(text):
        path = os.path.abspath(text)
        return as_url(path), path, ()
    try:
        parts = urllib.parse.urlsplit(text)
    except ValueError as error:
        refuse_line(where, f"has no URL: {error}")
    pairs = [(one, *one.partition("=")[::2]) for one in parts.fragment.split("&") if one]
    hashes = tuple(_check_hash(name.lower(), value, where) for _, name, value in pairs if is_hash_algorithm(name.lower()))
    kept = "&".join(one for one, name, _ in pairs if not is_hash_algorithm(name.lower()))
    if "+" in parts.scheme and (hashes or has_hashes):
        refuse_line(where, "a repository has no single file that could have a hash")
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        path = os.path.abspath(urllib.parse.unquote(parts.path))
        return as_url(path) + (f"#{kept}" if kept else ""), path, hashes
    return parts._replace(fragment=kept).geturl(), parts._replace(fragment="").geturl(), hashes


def _parse_hash(text: str, where: str) -> Hash:
    """ALGORITHM:VALUE of --hash, for which only what nobody can forge is taken, as with pip."""
    algorithm, _, value = text.partition(":")
    if algorithm not in RECORD_ALGORITHMS:
        shown = f"{algorithm} is too weak or unknown" if algorithm else "it names no algorithm"
        refuse_line(where, f"--hash: {shown}; {', '.join(RECORD_ALGORITHMS)} are taken")
    return _check_hash(algorithm, value, where)


def _check_hash(algorithm: str, value: str, where: str) -> Hash:
    try:
        return algorithm, parse_hash(algorithm, value.lower())
    except InvalidValue as error:
        refuse_line(where, str(error))

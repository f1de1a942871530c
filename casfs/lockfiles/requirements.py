"""Requirements files, read once and strictly: what comes out is all that a resolver gets to see, and all that is compared.

The grammar is pip's: https://pip.pypa.io/en/stable/reference/requirements-file-format/. Where pip and uv differ about what a line says, or
one of them would pass over a part of it, the line is refused: a hash that nobody sees is a hash that nobody compares.
"""

from __future__ import annotations

import codecs
import os
import re
import shlex
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from casfs.errors import LockRefused
from casfs.lockfiles.lines import Kind, Line, parse_editable, parse_requirement, refuse_line

_OF_PROJECTS = ("pyproject.toml", "setup.py", "setup.cfg")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # it begins with the BOM of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_ODD_ENDS = re.compile("[\x00\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
"""Where Python ends a line and uv does not."""

_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_COMMENT = re.compile(r"(^|\s)#.*")
_OPTIONS_BEGIN = re.compile(r"(?:^|\s)(?=-)")
_EDITABLE = re.compile(r"(?:-e|--editable)(?:\s*=\s*|\s+)(?=\S)(?P<text>.*)")

_DEEPEST = 100

_QUOTED = re.compile(r"""^(["'])([^"']*)\1$""")

_VALUED = {
    **dict.fromkeys(("-r", "--requirement", "--requirements"), "-r"),
    **dict.fromkeys(("-c", "--constraint", "--constraints"), "-c"),
    **dict.fromkeys(("-i", "--index-url", "--pypi-url"), "--index-url"),
    **dict.fromkeys(("-f", "--find-links"), "--find-links"),
    **{name: name for name in ("--extra-index-url", "--no-binary", "--only-binary", "--trusted-host", "--use-feature", "--hash")},
}
_ALONE = ("--no-index", "--pre", "--prefer-binary", "--require-hashes")
_FOR_UV = ("--index-url", "--extra-index-url", "--find-links", "--no-binary", "--only-binary", "--no-index")

Read = Callable[[str], bytes]
"""Content of a file by its path, its URL, or `-`. Raises OSError, CasfsError."""


@dataclass(slots=True)
class Requirements:
    """All that was asked for, in files and words."""

    lines: list[Line] = field(default_factory=list)
    options: list[str] = field(default_factory=list)  # as lines of a requirements file that a resolver reads
    trusted_hosts: list[str] = field(default_factory=list)
    projects: list[str] = field(default_factory=list)  # paths of what is not a requirements file; uv reads it
    is_pre_allowed: bool = False
    are_hashes_required: bool = False

    def texts(self, kind: Kind) -> list[str]:
        """The lines of a kind, as a resolver reads them."""
        return [line.text for line in self.lines if line.kind is kind]


@dataclass(slots=True)
class Reader:
    """Collects what files and words ask for."""

    read: Read
    environ: Mapping[str, str]
    show: Callable[[str], str]  # of a path or URL, without a login
    found: Requirements = field(default_factory=Requirements)
    _known: set[tuple[str, Kind]] = field(default_factory=set)

    def add_word(self, word: str, shown: str, *, is_editable: bool = False) -> None:
        """What was typed: one requirement, path or URL. Raises LockRefused, which says it as it is shown."""
        line = self._expand(_COMMENT.sub("", word).strip(), shown)
        text, options = _split_options(line, shown)
        if not text:
            refuse_line(shown, "is not a requirement, a path or a URL")
        self._add(text, options, shown, Kind.ASKED, is_editable=is_editable)

    def add_file(self, place: str, kind: Kind = Kind.ASKED) -> None:
        """A requirements file and those that it includes. Raises LockRefused, which names file and line, and what reading raises."""
        if os.path.basename(place) in _OF_PROJECTS or place.endswith(".py"):
            if is_url(place) or kind is not Kind.ASKED:
                raise LockRefused(self.show(place), "is not a requirements file")
            self.found.projects.append(os.path.abspath(place))
            return
        if place.endswith((".toml", ".whl")):
            raise LockRefused(
                self.show(place), "is not a requirements file; `casfs sync` reads lock files, and `casfs add` takes wheels as they are"
            )
        self._read_file(_absolute(place), kind, ())

    def _read_file(self, place: str, kind: Kind, above: tuple[str, ...]) -> None:
        if (place, kind) in self._known:
            return
        self._known.add((place, kind))
        shown = self.show(place) if place != "-" else "standard input"
        for number, line in _iter_lines(_decode(self.read(place), shown), shown):
            where = f"{shown}, line {number}"
            line = self._expand(line, where)
            editable = _EDITABLE.match(line)
            text, options = _split_options(_QUOTED.sub(r"\2", editable["text"]) if editable else line, where)
            if text or editable:
                self._add(text, options, where, kind, is_editable=bool(editable))
                continue
            for name, value in options:
                self._apply(name, value, where, (*above, place), kind)

    def _expand(self, line: str, where: str) -> str:
        """Variables, as pip has it. Of a variable that is not set nobody knows what it would have said, and uv would look again."""
        values = {"PROJECT_ROOT": os.getcwd(), **self.environ}
        expanded = _VARIABLE.sub(lambda found: values.get(found[1]) or found[0], line)
        if left := _VARIABLE.search(expanded):
            refuse_line(where, f"the variable {left[1]} is not set, or holds one itself")
        if not expanded.replace("\t", " ").isprintable() or "\\" in expanded:
            refuse_line(where, "has a backslash that ends no line, or a character that can't be seen")
        return expanded

    def _add(self, text: str, options: Sequence[tuple[str, str]], where: str, kind: Kind, *, is_editable: bool) -> None:
        if odd := [name for name, _ in options if name != "--hash"]:
            refuse_line(where, f"{odd[0]} is not an option of a single requirement")
        parse = parse_editable if is_editable else parse_requirement
        self.found.lines.append(parse(text, [value for _, value in options], where, kind))

    def _apply(self, name: str, value: str, where: str, above: tuple[str, ...], kind: Kind) -> None:
        if name == "--hash":
            refuse_line(where, "--hash stands on a line of its own, and belongs behind a requirement")
        elif name in {"-r", "-c"}:
            self._include(name, _beside(above[-1], value), where, above, kind)
        elif name == "--require-hashes":
            self.found.are_hashes_required = True
        elif name == "--pre":
            self.found.is_pre_allowed = True
        elif name == "--trusted-host":
            self.found.trusted_hosts.append(value)
        elif name in _FOR_UV:
            value = _links(above[-1], value) if name == "--find-links" else value
            if re.search(r"[\s#]", value):
                refuse_line(where, f"the value of {name} has a space or a number sign")
            self.found.options.append(f"{name} {value}".rstrip())

    def _include(self, name: str, place: str, where: str, above: tuple[str, ...], kind: Kind) -> None:
        if name == "-r" and kind is not Kind.ASKED:
            refuse_line(where, "a constraints file includes a requirements file, so it is not clear whether you ask for those requirements")
        if name == "-r" and (os.path.basename(place) in _OF_PROJECTS or place.endswith((".py", ".toml"))):
            self.add_file(place)
        elif len(above) > _DEEPEST:
            refuse_line(where, "includes too many files within each other")
        else:
            self._read_file(place, Kind.CONSTRAINT if name == "-c" else kind, above)


def is_url(place: str) -> bool:
    """Whether a file has to be fetched."""
    return place.startswith(("http://", "https://"))


def _absolute(place: str) -> str:
    if place.startswith("file:"):
        return urllib.parse.unquote(urllib.parse.urlsplit(place).path)
    return place if is_url(place) or place == "-" else os.path.abspath(place)


def _beside(file: str, value: str) -> str:
    """What a file includes: relative to itself."""
    if is_url(value) or value.startswith("file:") or value == "-":
        return _absolute(value)
    return urllib.parse.urljoin(file, value) if is_url(file) else os.path.abspath(os.path.join(os.path.dirname(file), value))


def _links(file: str, value: str) -> str:
    """A directory of files is relative to the requirements file if it is there, as with pip."""
    beside = os.path.join(os.path.dirname(file), value)
    path = beside if "://" not in value and file != "-" and not is_url(file) and os.path.exists(beside) else value
    return f"file://{urllib.parse.quote(os.path.abspath(path))}" if "://" not in value and os.path.exists(path) else value


def _decode(data: bytes, shown: str) -> str:
    """As pip does it: a BOM, else what the first two lines say (PEP 263), else UTF-8."""
    bom, coding = next(((bom, coding) for bom, coding in _BOMS if data.startswith(bom)), (b"", ""))
    if not coding:
        said = next((match for line in data.split(b"\n")[:2] if (match := _CODING.match(line))), None)
        coding = said[1].decode("ascii", "replace") if said else "utf-8"
    try:
        return data[len(bom) :].decode(coding)
    except (LookupError, UnicodeError) as error:
        raise LockRefused(shown, f"can't be decoded: {error}") from None


def _iter_lines(text: str, shown: str) -> Iterator[tuple[int, str]]:
    """(number, line) without comments; lines that end in a backslash go on in the next."""
    open_line, first = "", 0
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        if _ODD_ENDS.search(line):
            refuse_line(f"{shown}, line {number}", "has a character that ends a line for some programs only")
        first = first or number
        is_comment = line.lstrip().startswith("#")
        bare = "" if is_comment else _COMMENT.sub("", line)
        if bare != line and not is_comment and line.endswith("\\"):
            refuse_line(f"{shown}, line {number}", "its comment ends in a backslash, and for some programs goes on in the next line")
        open_line += bare.removesuffix("\\")
        if not bare.endswith("\\"):
            if open_line.strip():
                yield first, open_line.strip()
            open_line, first = "", 0
    if open_line.strip():
        yield first, open_line.strip()


def _split_options(line: str, where: str) -> tuple[str, list[tuple[str, str]]]:
    """The requirement of a line, if it has one, and the options behind it or in its place."""
    begin = _OPTIONS_BEGIN.search(line)
    text, rest = (line[: begin.start()], line[begin.end() :]) if begin else (line, "")
    try:
        words = shlex.split(rest)
    except ValueError as error:
        refuse_line(where, f"can't be split into words: {error}")
    return text.strip(), [*_iter_options(words, where)]


def _iter_options(words: Sequence[str], where: str) -> Iterator[tuple[str, str]]:
    """(name, value) of options that casfs reads; each other is refused."""
    left = list(words)
    while left:
        said, sign, value = left.pop(0).partition("=")
        if said in _VALUED:
            if not sign:
                value = left.pop(0) if left else ""
            if not value or value.startswith("-"):
                refuse_line(where, f"{said} has no value")
            yield _VALUED[said], value
        elif said in {"-e", "--editable"}:
            refuse_line(where, f"{said} has no value, or is not the first word")
        elif said in _ALONE and not sign:
            yield said, ""
        else:
            refuse_line(
                where, f"{said} is not an option that casfs reads in a requirements file" if said[:1] == "-" else "has a word too many"
            )

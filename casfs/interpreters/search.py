"""Search: the interpreter that a user means by a path, a version, a name, or by saying nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from casfs.errors import InterpreterRefused
from casfs.interpreters.interpreter import Interpreter, probe_base
from casfs.interpreters.probe import OLDEST

_VERSION = re.compile(r"(?:python|cpython-?)?(\d+(?:\.\d+){0,2}(?:(?:a|b|rc)\d+)?)(t?)")

_PYTHON_NAME = re.compile(r"python(3(\.\d+t?)?)?")

_MINOR_NAME = re.compile(r"python(\d+)\.(\d+)[a-z]*")

_PLACES_AT_ROOT = ("usr/local/bin", "usr/bin", "opt/python*/bin", "opt/python/*/bin")
"""Where Linux distributions and container images keep interpreters that need not be on the search path."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A version in as many parts as were given, and whether it must be free-threaded."""

    text: str
    is_free_threaded: bool

    def is_met_by(self, version: str, *, is_free_threaded: bool) -> bool:
        """`3.12` is met by 3.12.1; `3.14` by 3.14.0rc1, but `3.14.0` is not."""
        parts = self.text.split(".")
        return version.split(".")[: len(parts)] == parts and (is_free_threaded or not self.is_free_threaded)

    def may_be(self, minor: tuple[int, int]) -> bool:
        """Whether an interpreter of this major and minor version may meet it."""
        numbers = tuple(map(int, re.findall(r"\d+", self.text)[:2]))
        return minor[: len(numbers)] == numbers

    @property
    def is_exact(self) -> bool:
        """Whether the patch release was given."""
        return self.text.count(".") == 2

    @property
    def names(self) -> Sequence[str]:
        """What its executable may be called, the surest name first."""
        parts = re.findall(r"\d+", self.text)
        threading = "t" if self.is_free_threaded else ""
        return [*([f"python{parts[0]}.{parts[1]}{threading}"] if len(parts) > 1 else []), f"python{parts[0]}", "python"]


Recall = Callable[[str], Interpreter | None]
"""Answers the base interpreter to which a path leads, if that is known without starting anything."""


def find_interpreter(request: str | None, environ: Mapping[str, str], root: str = "/", *, recall: Recall = lambda path: None) -> str:
    """Path of the base interpreter for a path ("/usr/bin/python3", ".venv"), a version ("3.12", "python3.12.1", "3.13t") or a name.

    None asks for the `python3` of PATH. What does not start is passed over, such as a shim of pyenv for a version that is off. A version
    that is not on PATH is looked for where uv and pyenv keep theirs, as `environ` says, and in well-known places below `root`. Raises
    InterpreterRefused, which says what was found instead. One that `recall` knows is not started, nor one whose name says another version.
    """
    search_path = _split(environ.get("PATH", os.defpath))
    if request is None:
        return _first_usable("python3", _iter_named(("python3", "python"), search_path), recall)
    if "/" in request:
        return _find_at(request, recall)
    if version := _VERSION.fullmatch(request):
        return _find_version(Wanted(version[1], bool(version[2])), search_path, _well_known(environ, root), recall)
    return _first_usable(request, _iter_named((request,), search_path), recall)


def _find_at(path: str, recall: Recall) -> str:
    """The interpreter at a path, or of the virtual environment or installation in that directory."""
    if os.path.isdir(path):
        return _first_usable(path, _iter_named(("python", "python3"), (os.path.join(path, "bin"),)), recall)
    return _executable_of(path, recall)


def _executable_of(path: str, recall: Recall) -> str:
    """The base interpreter behind a path. Raises InterpreterRefused."""
    known = recall(path)
    return known.executable if known is not None else probe_base(path).executable


def _first_usable(request: str, candidates: Iterator[str], recall: Recall) -> str:
    reasons = []
    for candidate in candidates:
        try:
            return _executable_of(candidate, recall)
        except InterpreterRefused as refused:
            reasons.append(str(refused))
    raise InterpreterRefused(request, *(reasons or ["no such interpreter is there; name one by its path or version"]))


def _find_version(wanted: Wanted, search_path: Sequence[str], places: Sequence[str], recall: Recall) -> str:
    others: dict[str, str] = {}
    for candidate in _iter_candidates(wanted, search_path, places):
        real = os.path.realpath(candidate)
        minor = _minor_by_name(real)
        if minor and not wanted.may_be(minor):
            if minor >= OLDEST:
                others[real] = "{}.{}".format(*minor)
            continue
        known = recall(candidate)
        if known is not None and wanted.is_met_by(known.version, is_free_threaded=known.is_free_threaded):
            return known.executable
        try:
            facts = probe_base(candidate)
        except InterpreterRefused:
            continue
        if wanted.is_met_by(facts.version, is_free_threaded=facts.free_threaded):
            return facts.executable
        others[facts.executable] = facts.version
    threading = "free-threaded " if wanted.is_free_threaded else ""
    newest_first = sorted(others.items(), key=lambda other: _numbers(other[1]), reverse=True)
    listed = ", ".join(f"{version} ({path})" for path, version in newest_first)
    raise InterpreterRefused(f"{threading}Python {wanted.text}", f"is not installed; found {listed or 'no other'}")


def _minor_by_name(path: str) -> tuple[int, int] | None:
    """The major and minor version that a file's name says."""
    name = _MINOR_NAME.fullmatch(os.path.basename(path))
    return (int(name[1]), int(name[2])) if name else None


def _iter_candidates(wanted: Wanted, search_path: Sequence[str], places: Sequence[str]) -> Iterator[str]:
    """Executables with the names, those of the search path first; then every other Python, for the sake of the message. Each once.

    A shim of pyenv takes long to say which version it stands for, and that one is in a place: it only chooses among several patch releases.
    """
    seen: set[str] = set()
    surest, general = wanted.names[:1], wanted.names[1:]
    plain = [directory for directory in search_path if not _pyenv_of_shims(directory)]
    named = [*_iter_named(surest, plain if wanted.is_exact else search_path), *_iter_named(general, plain)]
    for path in [*named, *_iter_named(wanted.names, places), *_iter_pythons((*plain, *places))]:
        if (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            yield path


def _iter_named(names: Sequence[str], directories: Sequence[str]) -> Iterator[str]:
    """Executables, for each name in the order of the directories."""
    for name in names:
        for directory in directories:
            path = os.path.join(directory, name)
            if os.access(path, os.X_OK) and not os.path.isdir(path):
                yield path


def _iter_pythons(directories: Sequence[str]) -> Iterator[str]:
    for directory in directories:
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        yield from _iter_named([name for name in names if _PYTHON_NAME.fullmatch(name)], (directory,))


def _well_known(environ: Mapping[str, str], root: str) -> list[str]:
    """Directories that may hold interpreters; of those that differ in a version the newest first."""
    from pathlib import Path

    home = environ.get("HOME", "")
    data = environ.get("XDG_DATA_HOME") or os.path.join(home, ".local/share")
    pyenv = environ.get("PYENV_ROOT") or os.path.join(home, ".pyenv")
    pyenvs = dict.fromkeys([pyenv, *filter(None, map(_pyenv_of_shims, _split(environ.get("PATH", os.defpath))))])
    patterns = [
        (environ.get("UV_PYTHON_INSTALL_DIR") or os.path.join(data, "uv/python"), "*/bin"),
        *((base, "versions/*/bin") for base in pyenvs),
        *((root, pattern) for pattern in _PLACES_AT_ROOT),
    ]
    patterns = [(base, pattern) for base, pattern in patterns if os.path.isabs(base)]
    return [path for base, pattern in patterns for path in sorted(map(str, Path(base).glob(pattern)), key=_numbers, reverse=True)]


def _pyenv_of_shims(directory: str) -> str | None:
    """The root of the pyenv whose shims are in this directory."""
    root, name = os.path.split(directory.rstrip("/"))
    return root if name == "shims" and os.path.isdir(os.path.join(root, "versions")) else None


def _numbers(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path)]


def _split(search_path: str) -> list[str]:
    """The directories of a search path. An empty or relative one is left out: no interpreter is taken from where one happens to stand."""
    return [directory for directory in search_path.split(os.pathsep) if os.path.isabs(directory)]

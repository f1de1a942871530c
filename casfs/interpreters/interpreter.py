"""Interpreter: the base CPython of an environment, and which wheels fit it. It is asked once; what it said is kept as JSON."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from casfs.errors import InterpreterRefused, InvalidValue
from casfs.paths import path_problem

if TYPE_CHECKING:
    from casfs.interpreters.probe import Facts


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Facts about a base CPython, that is one outside any virtual environment."""

    executable: str  # absolute; it may lead through links that stay when a patch release goes (see `stable`)
    version: str  # in full: "3.11.7", "3.14.0rc1"
    cache_tag: str  # "cpython-311"
    magic: str  # of its bytecode, in hexadecimal digits: "a70d0d0a"
    python_directory: str  # "python3.11"; "python3.13t" for a free-threaded one
    bits: int  # 64 or 32
    tags: tuple[str, ...]  # of wheels that it can use, best first
    markers: tuple[tuple[str, str], ...]  # environment markers (PEP 508), sorted by name

    @property
    def release(self) -> str:
        """Major and minor version: "3.11"."""
        return dict(self.markers)["python_version"]

    @property
    def is_free_threaded(self) -> bool:
        """Was it built without the global interpreter lock?"""
        return self.python_directory.endswith("t")

    def to_json(self) -> dict[str, Any]:
        """As plain values, for a cache."""
        return {**dataclasses.asdict(self), "tags": list(self.tags), "markers": dict(self.markers)}


def parse_interpreter(values: Mapping[str, Any]) -> Interpreter:
    """What `to_json` gave. Raises InvalidValue for anything else."""
    try:
        fields = {name: str(values[name]) for name in ("executable", "version", "cache_tag", "magic", "python_directory")}
        markers = tuple(sorted((str(name), str(value)) for name, value in values["markers"].items()))
        return Interpreter(**fields, bits=int(values["bits"]), tags=tuple(map(str, values["tags"])), markers=markers)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InvalidValue("cached interpreter", "is not in the form that this version of casfs writes") from None


def ask_interpreter(executable: str) -> Interpreter:
    """The base interpreter behind `executable`, which may be a symlink, a wrapper script or a virtual environment's own python.

    Starts it once, or twice if the virtual environment holds a copy of it. Raises InterpreterRefused.
    """
    from casfs.interpreters.tags import compute_tags

    facts = probe_base(executable)
    return Interpreter(
        executable=facts.executable,
        version=facts.version,
        cache_tag=facts.cache_tag,
        magic=facts.magic,
        python_directory=os.path.basename(facts.library),
        bits=facts.bits,
        tags=compute_tags(facts),
        markers=tuple(sorted(facts.markers.items())),
    )


def probe_base(executable: str) -> Facts:
    """The facts about the base interpreter behind `executable`, by its stable path. Raises InterpreterRefused."""
    from casfs.interpreters.probe import probe_python
    from casfs.interpreters.stable import stable_path

    seen = set()
    while executable not in seen:
        seen.add(executable)
        asked = os.path.abspath(executable)
        facts = probe_python(asked)
        base = os.path.realpath(facts.executable)
        if (home := _read_home(base)) is None:
            stable = stable_path(asked if os.path.realpath(asked) == base else facts.executable, base)
            if problem := path_problem(stable[1:]):
                raise InterpreterRefused(repr(executable), problem)
            return dataclasses.replace(facts, executable=stable)
        executable = _find_in_home(home, base, facts)
    raise InterpreterRefused(executable, "is in a virtual environment whose pyvenv.cfg names no base interpreter")


def is_in_virtual_environment(executable: str) -> bool:
    """Whether a virtual environment holds the executable, or the symlink that is at this path."""
    return _read_home(os.path.abspath(executable)) is not None


def _read_home(executable: str) -> str | None:
    """The `home` of the virtual environment that holds `executable` itself, and not a symlink to it; None if there is none."""
    directory = os.path.dirname(executable)
    for place in (directory, os.path.dirname(directory)):
        try:
            with open(os.path.join(place, "pyvenv.cfg"), encoding="utf-8", errors="replace") as file:
                settings = [line.partition("=") for line in file]
        except OSError:
            continue
        return next((value.strip() for name, _, value in settings if name.strip().lower() == "home"), "")
    return None


def _find_in_home(home: str, copy: str, facts: Facts) -> str:
    names = ("python{}.{}".format(*facts.release), "python3", "python", os.path.basename(copy))
    for path in (os.path.join(home, name) for name in names):
        if os.path.isabs(path) and os.access(path, os.X_OK):
            return path
    raise InterpreterRefused(copy, f"belongs to a virtual environment whose base interpreter is not in {home!r}")


def fits(interpreter: Interpreter, tags: Iterable[str]) -> bool:
    """Can it use a wheel that has these tags (expanded: "cp311-cp311-linux_x86_64")?"""
    return not set(interpreter.tags).isdisjoint(tags)


def tags_problem(interpreter: Interpreter, tags: Iterable[str]) -> str | None:
    """Why a wheel with these tags can't be used, and what could be; None if it fits."""
    tags = list(tags)
    if fits(interpreter, tags):
        return None
    pythons, platforms = [], []
    for python, abi, platform in (tag.split("-", 2) for tag in tags):
        pythons.append(python if abi in {"none", python} else f"{python}-{abi}")
        platforms.append(platform)
    return f"is for {_some(pythons)} on {_some(platforms)}; this environment is {_describe(interpreter)} ({_accepts(interpreter)})"


def _some(names: Iterable[str], most: int = 3) -> str:
    unique = list(dict.fromkeys(names))
    more = len(unique) - most
    return ", ".join(unique[:most]) + (f" and {more} more" if more > 0 else "")


def _describe(interpreter: Interpreter) -> str:
    threading = " free-threaded" if interpreter.is_free_threaded else ""
    machine = next((tag.partition("-linux_")[2] for tag in interpreter.tags if "-linux_" in tag), "this machine")
    return f"CPython {interpreter.release}{threading} on {machine}"


def _accepts(interpreter: Interpreter) -> str:
    """The kinds of tags that fit, with the newest platform of each kind of C library."""
    python, abi, _ = interpreter.tags[0].split("-", 2)
    stable = next((one for one in ("abi3", "abi3t") if any(tag.startswith(f"{python}-{one}-") for tag in interpreter.tags)), "")
    kinds = [f"{python}-{abi}-…", f"cp3x-{stable}-… up to {python}" if stable else "", "py3-none-any"]
    platforms = [tag.split("-", 2)[2] for tag in interpreter.tags if tag.startswith(f"{python}-{abi}-")]
    newest = [next((one for one in platforms if one.startswith(family)), "") for family in ("manylinux_", "musllinux_")]
    return "accepts " + ", ".join(filter(None, kinds)) + "".join(f"; up to {one}" for one in newest if one)


_CLAUSE = re.compile(r"\s*(>=|<|!=)\s*(\d{1,9})(?:\.(\d{1,9}))?(\.[\d.]+|\.\*)?\s*")


def _is_met_plainly(interpreter: Interpreter, requires_python: str) -> bool:
    """Whether it is met, whatever the micro version is: that of nearly all wheels is, and `packaging` takes 15 ms to load."""
    ours = tuple(map(int, interpreter.version.split(".")[:2]))
    return all((match := _CLAUSE.fullmatch(clause)) and _is_clause_met(ours, *match.groups()) for clause in requires_python.split(","))


def _is_clause_met(ours: tuple[int, ...], relation: str, major: str, minor: str | None, rest: str | None) -> bool:
    """Whether major and minor version alone say so."""
    named = (int(major), int(minor or 0))
    if relation == ">=":
        return ours > named or (ours == named and not rest)
    return ours < named if relation == "<" else ours != named and minor is not None


def requires_python_problem(interpreter: Interpreter, requires_python: str | None) -> str | None:
    """Why a distribution with this Requires-Python can't be used; None if it can, or if the text is no valid specifier.

    As with pip, a pre-release of Python counts as the release, and an invalid specifier is ignored.
    """
    if not requires_python or _is_met_plainly(interpreter, requires_python):
        return None
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    version = Version(interpreter.version.rstrip("+"))
    try:
        is_met = SpecifierSet(requires_python).contains(version.base_version, prereleases=True)
    except ValueError:  # InvalidSpecifier, or a number so long that Python does not read it
        return None
    return None if is_met else f"requires Python {requires_python}; this environment has {interpreter.version}"

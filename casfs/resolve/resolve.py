"""Resolve: what requirements stand for, as uv finds it out, beside what an environment has.

What the environment has stays as it is, unless it was asked for or can't stay. Of what came from an index, uv prefers the present version;
what came from elsewhere (a path, a URL, an editable project) no index is asked for as long as it satisfies whoever needs it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from casfs.errors import FetchFailed
from casfs.interpreters.interpreter import Interpreter
from casfs.lockfiles.hashes import Asked
from casfs.lockfiles.lines import Kind, Line, real_place
from casfs.lockfiles.lockfile import Locked, format_preferences, pin_moved, read_lock
from casfs.lockfiles.requirements import Reader, Requirements
from casfs.resolve.obtain import origin_of
from casfs.resolve.uv import Uv
from casfs.store.generations import Distribution
from casfs.store.publish import naming
from casfs.store.store import Store
from casfs.venv.origins import SourceKind, as_url
from casfs.venv.reading import read_direct_url


@dataclass(frozen=True, slots=True)
class ResolveRequest:
    """What to resolve: requirements and their hashes, what is there, and of that what comes from no index (origins by project)."""

    requirements: Requirements
    asked: Asked
    present: Sequence[Distribution] = ()
    held: Mapping[str, str] = field(default_factory=dict)


def find_held(store: Store, present: Sequence[Distribution], asked: Asked, options: Sequence[str]) -> dict[str, str]:
    """Origins of what is there by path or URL and will do, by project; but nothing whose file or directory is gone."""
    newer = asked.projects if "--upgrade" in options else {value for one, value in pairwise(options) if one == "--upgrade-package"}
    places = asked.places
    return {
        distribution.project: distribution.origin
        for distribution in present
        if asked.allows(distribution.project, distribution.version)
        and distribution.project not in newer
        and distribution.origin not in places
        and not asked.must_be_compared(distribution.project, distribution.origin)
        and ("://" in distribution.origin or os.path.exists(distribution.origin))
        and read_direct_url(store, distribution) is not None
    }


def is_held(request: ResolveRequest, locked: Locked) -> bool:
    """Whether the environment has just this, and nobody asked for it anew: as a constraint a directory is never editable."""
    return locked.form is not SourceKind.EDITABLE and request.held.get(locked.project) == origin_of(locked)


def resolve(uv: Uv, interpreter: Interpreter, request: ResolveRequest, directory: str) -> list[Locked]:
    """What there is to have. Raises FetchFailed, when uv has said why, and LockRefused."""
    verify(uv, interpreter, request, directory)
    if request.held:
        with contextlib.suppress(FetchFailed):  # something needs another version of what is held
            return _resolve(uv, interpreter, request, _new_directory(f"{directory}/held"))
    return _resolve(uv, interpreter, replace(request, held={}), directory)


def _resolve(uv: Uv, interpreter: Interpreter, request: ResolveRequest, directory: str) -> list[Locked]:
    requirements, prefers = request.requirements, request.asked.prefers
    held = [f"{project} @ {as_url(origin)}" for project, origin in request.held.items()]
    lock = compile_requirements(uv, interpreter, requirements, directory, present=request.present, constraints=held)
    locked = read_lock(lock, interpreter, prefers=prefers)
    if {"--upgrade", "--upgrade-package"} & {*uv.options}:
        return locked
    # Of several indexes together uv takes another version if the first that has the preferred one has it for other Pythons only.
    if pins := pin_moved(locked, request.present):
        again, quiet = _new_directory(f"{directory}/again"), replace(uv, warn=_ignore)
        with contextlib.suppress(FetchFailed):
            lock = compile_requirements(quiet, interpreter, requirements, again, constraints=[*pins, *held])
            return read_lock(lock, interpreter, prefers=prefers)
    return locked


def compile_requirements(
    uv: Uv,
    interpreter: Interpreter,
    requirements: Requirements,
    directory: str,
    *more: str,
    present: Sequence[Distribution] = (),
    constraints: Sequence[str] = (),
    name: str = "pylock.toml",
) -> str:
    """Path of a lock for what was asked for: uv gets every line as it was understood, and reads no requirements file itself.

    With a `name` that ends in `.txt`: of a requirements file.
    """
    words = list(more)
    files = ((Kind.CONSTRAINT, "--constraints", constraints), (Kind.OVERRIDE, "--overrides", ()))
    for kind, option, others in files:
        if lines := [*requirements.texts(kind), *others]:
            with naming(path := f"{directory}/{kind.value}s.txt"):
                Path(path).write_text("\n".join(lines), encoding="utf-8")
            words += [option, path]
    asked = [*requirements.options, *requirements.texts(Kind.ASKED)]
    preferred = format_preferences(present) if name == "pylock.toml" else ""
    return uv.compile(interpreter.executable, asked, requirements.projects, preferred, f"{directory}/{name}", *words)


def verify(
    uv: Uv, interpreter: Interpreter, request: ResolveRequest, directory: str, *, has_dependencies: bool = True, line: Line | None = None
) -> None:
    """Refuse what has no hash and needs one, and what uv would build to look into it though it has another hash than was asked for.

    Only what comes from files is compared here, and not yet all of it. With `line` that one alone is asked for. Raises FetchFailed.
    """
    asked, requirements = request.asked, request.requirements
    lines = [one for one in requirements.lines if one.kind is Kind.ASKED] if line is None else [line]
    asked.refuse_bare(lines)
    if not asked.has_hashes:
        return
    is_strict = asked.are_all_required and all(one.hashes and one.is_pinned for one in lines) and not requirements.projects
    more = ["--require-hashes"] if is_strict else ["--verify-hashes"]
    if line is not None or request.present or not (is_strict and has_dependencies):
        more.append("--no-deps")  # what is there already needs no hash, and those of other lines are not told here
    target = _new_directory(f"{directory}/verified")
    told = [*requirements.options, *(one.text_with_hashes for one in lines)]
    uv.verify(interpreter.executable, told, requirements.projects, target, *more)


def compare(
    uv: Uv,
    interpreter: Interpreter,
    request: ResolveRequest,
    wanted: Sequence[Locked],
    directory: str,
    *more: str,
    line: Line | None = None,
) -> list[Locked]:
    """What is wanted, with the hashes that its files must have; of the requirements only `line` was resolved, if it is given.

    Raises FetchFailed with everything that has none, or not the right one.
    """
    asked, known = request.asked, {real_place(one.place) for one in request.asked.lines if one.place}
    if any(one.is_direct and one.is_file and real_place(one.place) not in known for one in wanted):
        asked = replace(asked, lines=[*asked.lines, *_read_references(uv, interpreter, request, directory, *more)])
    return asked.compare(wanted, None if line is None else [line])


def _read_references(uv: Uv, interpreter: Interpreter, request: ResolveRequest, directory: str, *more: str) -> list[Line]:
    """What projects themselves refer to by path or URL, with the hashes in these: a lock of uv has no word of them."""
    quiet, directory = replace(uv, warn=_ignore), _new_directory(f"{directory}/references")
    path = compile_requirements(quiet, interpreter, request.requirements, directory, *more, name="references.txt")
    reader = Reader(lambda path: Path(path).read_bytes(), {}, lambda place: "what projects refer to")
    reader.add_file(path)
    return [replace(line, kind=Kind.CONSTRAINT) for line in reader.found.lines if line.place and line.project]


def _ignore(text: str) -> None:
    """What uv warns of was said before."""


def _new_directory(path: str) -> str:
    os.mkdir(path, 0o700)
    return path

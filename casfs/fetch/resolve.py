"""Resolve: what requirements stand for, as uv finds it out, beside what an environment has.

What the environment has stays as it is, unless it was asked for or can't stay. Of what came from an index, uv prefers the present version;
what came from elsewhere (a path, a URL, an editable project) no index is asked for as long as it satisfies whoever needs it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from casfs.errors import FetchFailed
from casfs.fetch.obtain import origin_of
from casfs.fetch.uv import Uv
from casfs.store.generations import Distribution
from casfs.store.publish import naming
from casfs.store.store import Store
from casfs.venv.interpreters.interpreter import Interpreter
from casfs.venv.locks.locks import Locked, format_preferences, pin_moved, read_lock
from casfs.venv.locks.requirements import Asked
from casfs.venv.origins import Form, as_url
from casfs.venv.reading import read_direct_url


@dataclass(frozen=True, slots=True)
class Question:
    """What to resolve: requirement lines, requirements files, what is there, and of that what comes from no index (origins by project)."""

    lines: Sequence[str]
    files: Sequence[str]
    present: Sequence[Distribution]
    held: Mapping[str, str]


def find_held(store: Store, present: Sequence[Distribution], asked: Asked, options: Sequence[str]) -> dict[str, str]:
    """Origins of what is there by path or URL and will do, by project; but nothing whose file or directory is gone."""
    newer = asked.projects if "--upgrade" in options else {value for one, value in pairwise(options) if one == "--upgrade-package"}
    places = {os.path.abspath(place.partition("[")[0].strip()) for place in asked.places}
    return {
        one.project: one.origin
        for one in present
        if asked.allows(one.project, one.version)
        and one.project not in newer
        and one.origin not in places
        and ("://" in one.origin or os.path.exists(one.origin))
        and read_direct_url(store, one) is not None
    }


def is_held(question: Question, locked: Locked) -> bool:
    """Whether the environment has just this, and nobody asked for it anew: as a constraint a directory is never editable."""
    return locked.form is not Form.EDITABLE and question.held.get(locked.project) == origin_of(locked)


def resolve(uv: Uv, interpreter: Interpreter, question: Question, directory: str) -> list[Locked]:
    """What there is to have. Raises FetchFailed, when uv has said why, and LockRefused."""
    if question.held:
        with contextlib.suppress(FetchFailed):  # something needs another version of what is held
            return _resolve(uv, interpreter, question, _new_directory(f"{directory}/held"))
    return _resolve(uv, interpreter, replace(question, held={}), directory)


def _resolve(uv: Uv, interpreter: Interpreter, question: Question, directory: str) -> list[Locked]:
    given = (interpreter.executable, question.lines, question.files)
    held = [f"{project} @ {as_url(origin)}" for project, origin in question.held.items()]
    locked = read_lock(uv.compile(*given, format_preferences(question.present), directory, *_constrain(held, directory)), interpreter)
    if {"--upgrade", "--upgrade-package"} & {*uv.options}:
        return locked
    # Of several indexes together uv takes another version if the first that has the preferred one has it for other Pythons only.
    if pins := pin_moved(locked, question.present):
        again = _new_directory(f"{directory}/again")
        with contextlib.suppress(FetchFailed):
            lock = replace(uv, warn=lambda text: None).compile(*given, format_preferences(()), again, *_constrain([*pins, *held], again))
            return read_lock(lock, interpreter)
    return locked


def _constrain(lines: Sequence[str], directory: str) -> tuple[str, ...]:
    if not lines:
        return ()
    path = f"{directory}/constraints.txt"
    with naming(path):
        Path(path).write_text("\n".join(lines), encoding="utf-8")
    return ("--constraints", path)


def _new_directory(path: str) -> str:
    os.mkdir(path, 0o700)
    return path

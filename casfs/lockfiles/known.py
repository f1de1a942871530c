"""Locks that a store knows: what each names for an interpreter is found out once.

    stamps/<key>.locked    checksum (XXH3-128), line feed, JSON: a list for each project (`Locked`)

The key is made of all on which the answer depends. Derived, and may be deleted; `collect` removes them all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os

from casfs import __version__
from casfs.digest import digest_bytes
from casfs.interpreters.interpreter import Interpreter
from casfs.lockfiles.lockfile import Choice, Locked, read_lock
from casfs.store.derived import read_derived, write_derived
from casfs.store.store import Store
from casfs.venv.origins import SourceKind


def know_lock(store: Store, path: str, interpreter: Interpreter, choice: Choice) -> list[Locked]:
    """What a lock names, as `read_lock` has it. Raises LockRefused, OSError."""
    with open(path, "rb") as file:
        content = file.read()
    place = os.path.dirname(os.path.abspath(path))
    facts = [__version__, place, digest_bytes(content), interpreter.to_json(), dataclasses.astuple(choice)]
    known = store.path("stamps", f"{digest_bytes(json.dumps(facts).encode())}.locked")
    if (found := _read(known)) is None:
        found = read_lock(path, interpreter, choice)
        with open(path, "rb") as file:
            if file.read() == content:
                _write(known, found)
    return found


def _read(path: str) -> list[Locked] | None:
    if (body := read_derived(path)) is not None:
        with contextlib.suppress(ValueError, TypeError):
            return [_parse(*one) for one in json.loads(body)]
    return None


def _parse(form: str, hashes: list[list[str]], facts: dict[str, str]) -> Locked:
    return Locked(**facts, form=SourceKind(form), hashes=tuple((algorithm, value) for algorithm, value in hashes))  # type: ignore[arg-type]


def _write(path: str, found: list[Locked]) -> None:
    """Keep what a lock names. Never fails: it only saves time."""
    rest = [field.name for field in dataclasses.fields(Locked) if field.name not in {"form", "hashes", "checks"}]
    write_derived(path, json.dumps([[one.form.value, one.hashes, {name: getattr(one, name) for name in rest}] for one in found]).encode())

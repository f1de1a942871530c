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
from casfs.digest import checksum_bytes, digest_bytes
from casfs.store.store import Store
from casfs.venv.interpreters.interpreter import Interpreter
from casfs.venv.locks.locks import Choice, Locked, read_lock
from casfs.venv.origins import Form


def know_lock(store: Store, path: str, interpreter: Interpreter, choice: Choice) -> list[Locked]:
    """The same as `read_lock`. Raises LockRefused, OSError."""
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
    with contextlib.suppress(OSError, ValueError, TypeError), open(path, "rb") as file:
        checksum, _, body = file.read().partition(b"\n")
        if checksum.decode("ascii", "replace") == checksum_bytes(body):
            return [_parse(*one) for one in json.loads(body)]
    return None


def _parse(form: str, hashes: list[list[str]], facts: dict[str, str]) -> Locked:
    return Locked(**facts, form=Form(form), hashes=tuple((algorithm, value) for algorithm, value in hashes))  # type: ignore[arg-type]


def _write(path: str, found: list[Locked]) -> None:
    """Keep what a lock names. Never fails: it only saves time."""
    rest = [field.name for field in dataclasses.fields(Locked) if field.name not in {"form", "hashes", "checks"}]
    body = json.dumps([[one.form.value, one.hashes, {name: getattr(one, name) for name in rest}] for one in found]).encode()
    with contextlib.suppress(OSError):
        with open(f"{path}.{os.getpid()}", "wb") as file:
            file.write(checksum_bytes(body).encode() + b"\n" + body)
        os.rename(f"{path}.{os.getpid()}", path)

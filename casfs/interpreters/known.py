"""Interpreters that the store knows: each is asked once, until its file changes."""

from __future__ import annotations

import contextlib
import json
import os

from casfs.digest import digest_bytes
from casfs.errors import EnvironmentRefused, InterpreterRefused, InvalidValue, reason_of
from casfs.interpreters.interpreter import Interpreter, ask_interpreter, is_in_virtual_environment, parse_interpreter
from casfs.interpreters.stable import stable_path
from casfs.store.derived import put_in_place
from casfs.store.generations import BaseInterpreter
from casfs.store.store import Store

_FORMAT = 2


def know_interpreter(store: Store, executable: str) -> Interpreter:
    """What the interpreter says of itself, from the store if it has not changed since. Raises InterpreterRefused."""
    try:
        facts = _facts(executable)
    except OSError as error:
        raise InterpreterRefused(executable, reason_of(error)) from None
    if (known := _recall(store, executable, facts)) is not None:
        return known
    interpreter = ask_interpreter(executable)
    put_in_place(_path(store, executable), json.dumps({"facts": facts, "interpreter": interpreter.to_json()}).encode())
    return interpreter


def recall_base(store: Store, path: str) -> Interpreter | None:
    """The base interpreter to which `path` leads, if the store knows it and it has not changed since. Nothing is started.

    None too for a virtual environment's own python and for a wrapper: which interpreter is behind such a one, only its answer says.
    """
    path = os.path.abspath(path)
    try:
        stable = stable_path(path, os.path.realpath(path), is_base=lambda link: _is_base(store, link))
        interpreter = _recall(store, stable, _facts(stable))
    except OSError:
        return None
    if interpreter is None or interpreter.executable != stable or is_in_virtual_environment(path):
        return None
    return interpreter


def _is_base(store: Store, link: str) -> bool:
    """Whether the store knows an interpreter by this very path."""
    known = _recall(store, link, _facts(link))
    return known is not None and known.executable == link


def _facts(executable: str) -> list[int]:
    """What changes when somebody changes the file. Raises OSError."""
    status = os.stat(executable)
    return [_FORMAT, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]


def _recall(store: Store, executable: str, facts: list[int]) -> Interpreter | None:
    """What the store has of an interpreter whose file is as these facts say."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, InvalidValue), open(_path(store, executable), "rb") as file:
        data = json.load(file)
        if data["facts"] == facts:
            return parse_interpreter(data["interpreter"])
    return None


def _path(store: Store, executable: str) -> str:
    return store.path("interpreters", f"{digest_bytes(os.fsencode(executable))[:32]}.json")


def know_base(store: Store, base: BaseInterpreter) -> Interpreter:
    """The interpreter of an environment as it is now. Raises EnvironmentRefused if another version has taken its place."""
    interpreter = know_interpreter(store, base.executable)
    if (interpreter.python_directory, interpreter.cache_tag) != (base.directory, base.cache_tag):
        raise EnvironmentRefused(
            base.executable, f"was Python {base.version} when the environment was made and is {interpreter.version} now"
        )
    return interpreter

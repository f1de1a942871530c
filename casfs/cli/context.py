"""What every command needs: which store, which environment, and who serves it."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from casfs.cli.client import usual_store
from casfs.cli.hints import environment_name
from casfs.cli.output import note, warn
from casfs.errors import CasfsError, EnvironmentRefused, InterpreterRefused, StoreRefused, reason_of
from casfs.store.environments import Environment
from casfs.store.shared import add_shared_pool, use_shared_pools, use_what_is_there
from casfs.store.store import Store, open_store

if TYPE_CHECKING:  # most commands look at no daemon
    from casfs.interpreters.interpreter import Interpreter
    from casfs.store.generations import Generation


def store_directory(arguments: argparse.Namespace) -> str:
    """--store, else CASFS_STORE, else /var/lib/casfs for root and the user's data directory (XDG) for others."""
    return _expand(usual_store(arguments.store))


def _expand(path: str) -> str:
    if (expanded := os.path.expanduser(path)).startswith("~"):
        raise StoreRefused(path, "there is no such home directory; name the store with --store or CASFS_STORE")
    return expanded


def open_context(arguments: argparse.Namespace, *, create: bool = False) -> Environment:
    """The environment that a command is about."""
    name = environment_name(arguments)
    store = open_store(store_directory(arguments), create=create)
    for pool in getattr(arguments, "shared_pool", None) or ():
        if add_shared_pool(store, os.path.abspath(pool)):
            note(f"{os.path.abspath(pool)} is a shared pool of {store.root} from now on")
    use_shared_pools(store)
    return Environment(store, name)


def open_to_read(arguments: argparse.Namespace) -> Environment:
    """The environment of a command that changes and mounts nothing: a shared pool that can't be used is named, and it does without."""
    name = environment_name(arguments)
    store = open_store(store_directory(arguments))
    use_what_is_there(store, warn)
    return Environment(store, name)


def choose_interpreter(environment: Environment, request: str | None) -> Interpreter:
    """The environment's interpreter; for a new environment the one asked for, else the `python3` of PATH."""
    from casfs.interpreters.known import know_base, know_interpreter

    current = environment.current()
    if current is None:
        return know_interpreter(environment.store, find_python(environment.store, request))
    try:
        interpreter = know_base(environment.store, current.interpreter)
    except CasfsError as error:
        raise InterpreterRefused(environment.name, _dead_interpreter(environment, str(error))) from None
    if request is not None:
        wanted = find_python(environment.store, request)
        if os.path.realpath(wanted) != os.path.realpath(interpreter.executable):
            reason = f"is an environment of {interpreter.executable} and can't be changed to {wanted} so"
            hint = f"`casfs env set-python {environment.name} {request}` does it for another one of the same release"
            raise EnvironmentRefused(environment.name, f"{reason}; {hint}")
    return interpreter


def _dead_interpreter(environment: Environment, problem: str) -> str:
    return f"its interpreter {problem}; `casfs env set-python {environment.name} PYTHON` gives it another"


def warn_of_dead_interpreter(environment: Environment, generation: Generation) -> None:
    """Say so if the interpreter of an environment is gone. It is not started."""
    warn_if_dead(environment, generation.interpreter.executable)


def warn_if_dead(environment: Environment, executable: str) -> None:
    """Say so if the interpreter at this path is gone."""
    try:
        os.stat(executable)
    except OSError as error:
        problem = f"{executable}: {reason_of(error)}"
        warn(f"{environment.name}: {_dead_interpreter(environment, problem)}")


def find_python(store: Store, request: str | None) -> str:
    """Path of the interpreter that a user means, by default the `python3` of PATH. Raises InterpreterRefused."""
    from casfs.interpreters.known import recall_base
    from casfs.interpreters.search import find_interpreter

    environ = {"HOME": os.path.expanduser("~"), **os.environ}
    return find_interpreter(request, environ, recall=lambda path: recall_base(store, path))

"""What every command needs: which store, which environment, and who serves it."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from casfs.cli.hints import environment_name
from casfs.cli.output import note, warn
from casfs.errors import CasfsError, EnvironmentRefused, StoreRefused, describe_failure
from casfs.store.environments import Environment
from casfs.store.shared import add_shared_pool, use_shared_pools, use_what_is_there
from casfs.store.store import Store, open_store

if TYPE_CHECKING:  # most commands look at no daemon
    from casfs.store.leases import Lease
    from casfs.venv.interpreters.interpreter import Interpreter


def store_directory(arguments: argparse.Namespace) -> str:
    """--store, else CASFS_STORE, else /var/lib/casfs for root and the user's data directory (XDG) for others."""
    if given := arguments.store or os.environ.get("CASFS_STORE"):
        return _expand(given)
    if os.geteuid() == 0:
        return "/var/lib/casfs"
    return f"{_expand(os.environ.get('XDG_DATA_HOME') or '~/.local/share')}/casfs"


def _expand(path: str) -> str:
    if (expanded := os.path.expanduser(path)).startswith("~"):
        raise StoreRefused(path, "nobody knows that home directory; name the store by --store or CASFS_STORE")
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
    """The same for a command that changes and mounts nothing: a shared pool that can't be used is named, and it does without."""
    name = environment_name(arguments)
    store = open_store(store_directory(arguments))
    use_what_is_there(store, warn)
    return Environment(store, name)


def choose_interpreter(environment: Environment, request: str | None) -> Interpreter:
    """The environment's interpreter; for a new environment the one asked for, else the `python3` of PATH."""
    from casfs.venv.interpreters.known import know_base, know_interpreter

    current = environment.current()
    if current is None:
        return know_interpreter(environment.store, find_python(environment.store, request))
    interpreter = know_base(environment.store, current.interpreter)
    if request is not None and (wanted := find_python(environment.store, request)) != interpreter.executable:
        raise EnvironmentRefused(environment.name, f"is an environment of {interpreter.executable} and can't be changed to {wanted}")
    return interpreter


def find_python(store: Store, request: str | None) -> str:
    """Path of the interpreter that a user means, by default the `python3` of PATH. Raises InterpreterRefused."""
    from casfs.venv.interpreters.known import recall_base
    from casfs.venv.interpreters.search import find_interpreter

    environ = {"HOME": os.path.expanduser("~"), **os.environ}
    return find_interpreter(request, environ, recall=lambda path: recall_base(store, path))


def tell_daemons(environment: Environment) -> None:
    """Let every mount of the environment show its current generation and upper layer before the command returns."""
    from casfs.store.leases import iter_leases

    if os.geteuid() == 0:
        _lay_out_twins(environment)
    leases = [lease for lease in iter_leases(environment.store) if lease.environment in (environment.name, "")]
    if leases:
        _move_places(environment)
    for lease in leases:  # the daemon of one mount, or the host of many
        from casfs.mount.control import switch_generation

        try:
            switch_generation(environment.store, lease, environment.name)
        except CasfsError as error:
            for path in _places_of(environment, lease):
                _warn_of_old(path, "; ".join(error.reasons))


def _lay_out_twins(environment: Environment) -> None:
    """Make what lets the kernel show the current generation without asking a daemon. Without it everything works, but slower."""
    from casfs.venv.twins.twins import build_stack

    try:
        if (generation := environment.current()) is not None:  # else somebody has removed the environment
            build_stack(environment.store, generation)
    except OSError as error:
        warn(f"mounts will be slower: {describe_failure(error)}")


def _move_places(environment: Environment) -> None:
    """What the kernel shows without asking a daemon is mounted anew."""
    if os.geteuid() != 0:
        return
    from casfs.mount.places import locked_places
    from casfs.mount.placing import move_places

    try:
        with locked_places(environment.store):
            failed = move_places(environment.store, environment.name)
    except CasfsError as error:
        warn(f"{error}; its mounts may still show the generation before")
        return
    for place, reason in failed:
        _warn_of_old(place.path, reason)


def _warn_of_old(path: str, reason: str) -> None:
    warn(f"{path}: {reason}; it may still show the generation before")


def _places_of(environment: Environment, lease: Lease) -> list[str]:
    """Where a daemon shows the environment: the mounts of the kernel are what a user knows, not the private one of a host."""
    if lease.environment:
        return [lease.mountpoint]
    from casfs.mount.places import iter_places

    places = [place for place in iter_places(environment.store) if place.host == lease.id]
    return [place.path for place in places if place.environment == environment.name]

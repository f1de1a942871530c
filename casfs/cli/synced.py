"""What was synced last: a lock that is the same, and an environment that nobody has changed since, need no second look.

    environments/<name>/synced    JSON (`remember_sync`); derived, and may be deleted

Only locks of PEP 751 that name wheels by their digests: all that they name is known then, whatever an index offers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from casfs import __version__
from casfs.digest import Digest, digest_bytes
from casfs.store.environments import Environment
from casfs.store.runtime_files import write_record
from casfs.store.uppers import current_upper

if TYPE_CHECKING:
    from casfs.lockfiles.lockfile import Choice
    from casfs.store.generations import Generation

_FORMAT = 1


def read_lock_of_wheels(path: str) -> bytes | None:
    """The content of a lock of PEP 751; of others nobody knows what they name without a look at more than them."""
    if not path.endswith(".toml") or "://" in path or not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return file.read()


def find_sync(arguments: argparse.Namespace, environment: Environment, lock: bytes) -> str | None:
    """What to say if the environment is just what the lock says. It costs a look at each wheel's record, none at a blob."""
    synced = _read(environment)
    if synced.get("lock") != _key(arguments, lock) or synced.get("generation") != environment.current_number():
        return None
    if (upper := current_upper(environment)) is not None and not upper.is_empty:
        return None
    with contextlib.suppress(OSError):
        if synced["interpreter"] == _interpreter_facts(synced["interpreter"][0]) and _knows_all(environment, synced["wheels"]):
            return str(synced["said"])
    return None


def remember_sync(arguments: argparse.Namespace, environment: Environment, after: Generation, wheels: Sequence[Digest], said: str) -> None:
    """Let the same sync know that there is nothing to do, and say this. It only saves time."""
    if (lock := read_lock_of_wheels(arguments.lock)) is None:
        return
    with contextlib.suppress(OSError):
        facts = {"generation": after.number, "interpreter": _interpreter_facts(after.interpreter.executable), "wheels": wheels}
        write_record(f"{environment.directory}/synced", {"lock": _key(arguments, lock), **facts, "said": said})


def _key(arguments: argparse.Namespace, lock: bytes) -> str:
    """What the result of a sync depends on, beside the interpreter."""
    facts = [_FORMAT, __version__, os.path.abspath(arguments.lock), digest_bytes(lock), _wanted_parts(arguments), arguments.no_compile]
    return digest_bytes(json.dumps(facts).encode())


def _wanted_parts(arguments: argparse.Namespace) -> list[object]:
    """All that options say of the parts of a lock: what `Choice` has, in its order."""
    return [
        arguments.extra or (),
        arguments.group or (),
        arguments.no_extra or (),
        arguments.no_group or (),
        arguments.only_group or (),
        arguments.all_extras,
        arguments.all_groups,
        not arguments.no_default_groups,
    ]


def choice_of(arguments: argparse.Namespace) -> Choice:
    """Which parts of a lock are wanted, for whoever reads it."""
    from casfs.lockfiles.lockfile import Choice

    return Choice(*_wanted_parts(arguments))  # type: ignore[arg-type]


def _read(environment: Environment) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError), open(f"{environment.directory}/synced", "rb") as file:
        data = json.load(file)
        return data if isinstance(data, dict) else {}
    return {}


def _interpreter_facts(executable: str) -> list[str | int]:
    status = os.stat(executable)
    return [executable, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]


def _knows_all(environment: Environment, wheels: Sequence[str]) -> bool:
    """Whether nobody has withdrawn one of these wheels, or collected it."""
    store = environment.store
    return all(any(os.path.lexists(f"{root}/wheels/{wheel}") for root in (store.root, *store.shared)) for wheel in wheels)

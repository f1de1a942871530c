"""Records: small files, most of them in run/, that matter only as long as the mounts and processes of which they tell.

So nothing of them is synced. A reader sees all of one or none of it, and a lock tells whether the process that made it lives.

What comes as JSON, out of these files or a socket, is checked once, where it enters (`read_fields`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import math
import os
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

from casfs.errors import InvalidValue
from casfs.paths import parse_environment_name
from casfs.store.locking import is_held_by_strangers, is_open_to_others
from casfs.store.publish import naming


def now_utc() -> str:
    """This second, as records and generations tell it."""
    return format_utc(time.time())


def format_utc(seconds: float) -> str:
    """A time since the epoch (ISO 8601, UTC)."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))


def write_record(path: str, value: object) -> None:
    """Let the file at `path` hold a value, as JSON, in place of what it held. One writer at a time.

    Raises OSError, and then leaves nothing.
    """
    try:
        with naming(path), open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump(value, file)
        os.rename(f"{path}.new", path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(f"{path}.new")
        raise


def is_locked(fd: int) -> bool:
    """Whether somebody else who may has the file locked (see `locking`); if nobody has, `fd` shares a lock on it until it is closed."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return not (is_open_to_others(fd) and is_held_by_strangers(fd))
    return False


def is_file_locked(path: str) -> bool | None:
    """Whether somebody has the file at `path` locked; None if it can't be opened."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return is_locked(fd)
    finally:
        os.close(fd)


Made = TypeVar("Made")

_MOST = 2**63 - 1
_MOST_PROCESSES = 2**22  # proc_sys_kernel(5), pid_max
_NOBODY = 2**32 - 1  # chown(2) takes it for "leave it"
_SAID = {"problem", "reason", "why"}  # for people
_COMPONENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._@-]*")


def read_fields(kind: type[Made], data: object) -> Made:
    """A value of a dataclass whose fields are all right. Raises ValueError that names the first one that is not."""
    if not isinstance(data, dict):
        raise ValueError("is not a JSON object")
    known = {one.name: one for one in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name, value in data.items():
        if name not in known:
            raise ValueError(f"has the unknown field {name!r}")
        if not is_right(name, str(known[name].type), value):
            raise ValueError(f"has a field {name!r} of a wrong type or value")
    missing = dataclasses.MISSING
    for name, one in known.items():
        if name not in data and one.default is missing and one.default_factory is missing:
            raise ValueError(f"lacks the field {name!r}")
    return kind(**data)


def is_right(name: str, kind: str, value: object) -> bool:
    """Whether a value may be that of a field of this name and type."""
    if name in _SAID:
        return isinstance(value, str)
    return _KINDS[kind](value) and (name not in _MEANINGS or _MEANINGS[name](value))


def _is_text(value: object) -> bool:
    """Whether the kernel could be told of it."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


def _is_quantity(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_table(is_value: Callable[[Any], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and all(_is_text(name) and is_value(one) for name, one in value.items())


def _is_list(is_value: Callable[[Any], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(map(is_value, value))


_KINDS: dict[str, Callable[[Any], bool]] = {
    "str": _is_text,
    "int": _is_number,
    "float": _is_quantity,
    "bool": lambda value: isinstance(value, bool),
    "dict[str, int]": _is_table(_is_number),
    "dict[str, list[float]]": _is_table(_is_list(_is_quantity)),
    "tuple[tuple[str, str], ...]": _is_list(lambda pair: _is_list(_is_text)(pair) and len(pair) == 2),
}


def is_environment(value: str) -> bool:
    """Whether a text is the name of an environment."""
    try:
        return bool(parse_environment_name(value))
    except InvalidValue:
        return False


def _is_user(value: int) -> bool:
    return value < _NOBODY


def _is_process(value: int) -> bool:
    return value <= _MOST_PROCESSES


def _is_component(value: str) -> bool:
    return _COMPONENT.fullmatch(value) is not None


_MEANINGS: dict[str, Callable[[Any], bool]] = {
    "environment": lambda value: not value or is_environment(value),  # none: a host of many
    "uid": _is_user,
    "gid": _is_user,
    "pid": _is_process,
    "worker": _is_process,
    "supervisor": _is_process,
    "id": _is_component,
    "host": lambda value: not value or _is_component(value),
    "slot": lambda value: not value or _is_component(value),
    "attributes": lambda value: value in {"user", "trusted"},
}

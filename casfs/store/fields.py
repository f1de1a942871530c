"""Fields: values that come as JSON out of files and sockets, checked once, where they enter.

What is checked follows from a field's type and, where a name means more, from its name: a number is not negative, a text can be part of
a path, an environment's name is one that it can have. A number of a process may be 0, which stands for none and is never used as one.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

from casfs.errors import InvalidValue
from casfs.paths import parse_environment_name

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

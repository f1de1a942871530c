"""Paths that a hostile wheel can't use to leave its environment: checked once, here."""

from __future__ import annotations

import re

from casfs.errors import InvalidValue

PYTHON_COMPONENT = "{python}"
"""Stands for pythonX.Y in a manifest, so that one manifest serves every interpreter: lib/{python}/site-packages/..."""

SITE_PACKAGES = f"lib/{PYTHON_COMPONENT}/site-packages"

MAX_COMPONENT = 255  # NAME_MAX of every Linux file system, in bytes
MAX_PATH = 3072  # below PATH_MAX (4096), with room for the mountpoint

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def path_problem(path: str) -> str | None:
    """Why `path` may not be the path of a file below a directory (None: it may).

    A good path is relative, uses `/`, has no empty, `.` or `..` component, no control character, no backslash, can be encoded as UTF-8,
    and fits the limits of Linux file systems.
    """
    try:
        encoded = path.encode("utf-8")
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    if _CONTROL.search(path):
        return "has a control character in its name"
    if "\\" in path:
        return "has a backslash in its name"
    if path.startswith("/"):
        return "is an absolute path"
    components = path.split("/")
    if ".." in components:
        return "leaves its directory with '..'"
    if "" in components or "." in components:
        return "has an empty or '.' component"
    if len(encoded) > MAX_PATH:
        return f"is longer than {MAX_PATH} bytes"
    if len(encoded) > MAX_COMPONENT and any(len(component.encode("utf-8")) > MAX_COMPONENT for component in components):
        return f"has a component longer than {MAX_COMPONENT} bytes"
    return None


def parse_path(path: str) -> str:
    """`path`, checked. Raises InvalidValue."""
    if problem := path_problem(path):
        raise InvalidValue(repr(path), problem)
    return path


def parse_environment_name(name: str) -> str:
    """`name`, checked: it is used as a directory name and in messages. Raises InvalidValue."""
    if not _ENVIRONMENT_NAME.fullmatch(name):
        raise InvalidValue(repr(name), "is not an environment name: use letters, digits, '.', '_' and '-', at most 100")
    return name

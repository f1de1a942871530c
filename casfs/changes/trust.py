"""Trust: whether nobody but root and we can have a say in what a Python at a path runs.

Its code is more than its own file: before the first line of a program it looks for its library (`lib/pythonX.Y`) and for a `pyvenv.cfg` in
the directories above it (CPython, Modules/getpath.py), and whoever may write into one of these chooses what it finds.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator

from casfs.wheels.problems import quote

_LIBRARY = re.compile(r"python3\.[0-9]+t?")


def trust_problem(executable: str) -> str | None:
    """Why a Python at an absolute path without symbolic links is not to be run unasked, in words; None if it may be. Raises OSError."""
    if _belongs_to_another(os.stat(executable)):
        return "belongs to another user"
    directory = os.path.dirname(executable)
    prefix = os.path.dirname(directory)
    libraries = list(_iter_libraries(prefix))
    looked_into = [directory, prefix, *libraries]
    if not any(
        os.path.isfile(f"{library}/os.py") for library in libraries
    ):  # then it looks further up, and there may be one of somebody else
        looked_into += _above(prefix)
    for path in map(os.path.realpath, looked_into):
        for one, is_looked_into in ((path, True), *((above, False) for above in _above(path))):
            if problem := _directory_problem(os.stat(one), is_looked_into=is_looked_into):
                return f"depends on {quote(one)}, which {problem}"
    return None


_MOST_LINKS = 40  # as the kernel


def has_trusted_links(path: str) -> bool:
    """Whether nobody but root and we can say where an absolute path leads, now or later. Raises OSError."""
    done, rest = "", [one for one in path.split("/") if one]
    for _ in range(_MOST_LINKS + path.count("/")):
        if not rest:
            return True
        name = rest.pop(0)
        place = f"{done}/{name}"
        if _belongs_to_another(os.lstat(place)) or _directory_problem(os.stat(done or "/"), is_looked_into=False):
            return False
        if name == "..":
            done = os.path.dirname(done)
        elif not os.path.islink(place):
            done = place
        else:
            target = os.readlink(place)
            done = "" if target.startswith("/") else done
            rest = [*(one for one in target.split("/") if one not in {"", "."}), *rest]
    return False


def _iter_libraries(prefix: str) -> Iterator[str]:
    """Where a Python of this prefix has its library, and the directories that hold it."""
    for name in ("lib", "lib64"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = [one for one in os.listdir(f"{prefix}/{name}") if _LIBRARY.fullmatch(one)]
            yield f"{prefix}/{name}"
            yield from (f"{prefix}/{name}/{one}" for one in found)


def _above(path: str) -> list[str]:
    """The directories above an absolute path, up to the root."""
    above = []
    while path != (path := os.path.dirname(path)):
        above.append(path)
    return above


def _directory_problem(status: os.stat_result, *, is_looked_into: bool) -> str | None:
    """What lets others choose what is found in a directory. In one that is sticky they can't replace what is ours, but add names."""
    if _belongs_to_another(status):
        return "belongs to another user"
    is_open = status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _is_our_group(status.st_gid))
    if is_open and (is_looked_into or not status.st_mode & stat.S_ISVTX):
        return "others may write to"
    return None


def _belongs_to_another(status: os.stat_result) -> bool:
    return status.st_uid not in {0, os.geteuid()}


def _is_our_group(group: int) -> bool:
    """Whether a group is root's, or that of the user who runs this and of nobody else (many systems give each user such a one)."""
    if group == 0:
        return True
    import grp
    import pwd

    try:
        user, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return (user.pw_gid, user.pw_name) == (found.gr_gid, found.gr_name) and set(found.gr_mem) <= {user.pw_name}

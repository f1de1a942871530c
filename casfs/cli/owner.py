"""mount --owner: to whom the files of a mount belong, and whether that user can do anything with them."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterator, Sequence

from casfs.cli.output import warn
from casfs.errors import MountRefused
from casfs.store.environments import Environment


def owner_ids(environment: Environment, owner: str | None) -> tuple[int, int]:
    """User and group to whom the files shall belong: as asked, else as the environment's."""
    if owner is None:
        return environment.owner_ids()
    try:
        user = pwd.getpwuid(int(owner)) if owner.isdecimal() else pwd.getpwnam(owner)
    except KeyError:
        if owner.isdecimal():
            return int(owner), int(owner)
        raise MountRefused(environment.name, f"there is no user {owner!r}") from None
    return user.pw_uid, user.pw_gid


def warn_of_useless_mount(owner: str, uid: int, gid: int, mountpoint: str, interpreter: str) -> None:
    """Say so if the user can't reach the mountpoint or can't run the environment's interpreter."""
    if uid == 0:
        return
    at_mountpoint, at_interpreter = find_closed(uid, gid, (mountpoint, interpreter))
    problems = [f"can't reach {mountpoint} ({at_mountpoint} is closed to them)"] if at_mountpoint else []
    problems += [f"can't run {interpreter} ({at_interpreter} is closed to them)"] if at_interpreter else []
    if problems:
        warn(f"user {owner} {' and '.join(problems)}")


def find_closed(uid: int, gid: int, paths: Sequence[str]) -> list[str]:
    """For each path, the first component on the way to it, or itself, that a user may not pass or execute; empty if there is none.

    The kernel is asked by a child that is that user. For root only.
    """
    ways = [list(_iter_way(path)) for path in paths]  # a user who may not pass can't follow links
    ours, theirs = os.pipe()
    if not (child := os.fork()):
        try:
            os.setgroups(_groups(uid, gid))
            os.setgid(gid)
            os.setuid(uid)
            found = [next((part for part in way if not os.access(part, os.X_OK)), "") for way in ways]
            os.write(theirs, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answer:
        told = answer.read()
    os.waitpid(child, 0)
    return [str(path) for path in json.loads(told)] if told else [""] * len(paths)


def _groups(uid: int, gid: int) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return [gid]


def _iter_way(path: str) -> Iterator[str]:
    """What lies on the way to where the path leads in the end, from the top on, and then the path itself."""
    parts = os.path.realpath(path).split("/")
    for count in range(2, len(parts) + 1):
        yield "/".join(parts[:count])
    yield path

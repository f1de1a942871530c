"""Manifest: all files of one distribution, by digest."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.IntEnum):
    """What a row of a manifest is. Wheels can only give the first two."""

    FILE = 0
    EXECUTABLE = 1
    SYMLINK = 2  # the blob holds the target, as in git


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that casfs itself makes: a checked path below the environment, what it holds, and what it is."""

    path: str
    content: bytes
    kind: Kind = Kind.FILE

"""Where a wheel's bytes come from."""

from __future__ import annotations

import os
from typing import Protocol

from casfs.errors import WheelRefused

MAX_WHEEL_SIZE = 16 << 30
"""Bytes of a wheel's file, unless the user says otherwise: several times the largest known ones."""


def too_large(size: int, limit: int) -> str:
    """The reason why a file of `size` bytes is refused."""
    return f"has {size} bytes; the limit is {limit} (--max-wheel-size)"


class WheelSource(Protocol):
    """The bytes of a wheel, in a private copy that nobody else can change while it is read.

    Some bytes are read twice (RECORD first, then every member), so a source whose bytes change would make a check worthless.
    """

    @property
    def name(self) -> str:
        """The wheel's file name, for messages."""

    @property
    def size(self) -> int:
        """Bytes in the wheel."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`. Raises WheelRefused. Safe to call from several threads."""


class FileSource:
    """A wheel in an open file. The descriptor stays the caller's."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self.name = name
        self.size = os.fstat(fd).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        content = os.pread(self._fd, length, offset)
        if len(content) == length:
            return content
        pieces = [content]
        missing = length - len(content)
        while content and missing:  # pread may stop early: at 2 GiB, or when a signal comes
            content = os.pread(self._fd, missing, offset + length - missing)
            pieces.append(content)
            missing -= len(content)
        if missing:
            raise WheelRefused(self.name, f"ends {missing} bytes too early")
        return b"".join(pieces)

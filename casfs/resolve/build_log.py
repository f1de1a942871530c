"""What another program had to say: kept in a file while it runs, and shown only if it fails."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from typing import IO

_READ_BYTES = 1 << 16
_WIDTH = 200
_MOST_LINES = 20


def read_said(path: str, more: str = "") -> list[str]:
    """The last lines of the file at `path`, and `more`; nothing of a file that is not there. If there are too many, the whole is kept.

    Lines without what would move the cursor or colour the terminal; none is empty or longer than 200 characters.
    """
    return shorten(in_lines(f"{_read_end(path)}\n{more}"), lambda: open(path, "rb"))


def shorten(lines: list[str], open_whole: Callable[[], IO[bytes]]) -> list[str]:
    """The last lines; if there were more, the first says where all that was said stays."""
    return lines if len(lines) <= _MOST_LINES else [f"... (all of it: {_keep(open_whole)})", *lines[-_MOST_LINES:]]


def in_lines(text: str) -> list[str]:
    """The lines of a text that say something, as they can be shown."""
    found = [_printable(line)[:_WIDTH].rstrip() for line in text.splitlines()]
    return [line for line in found if line]


def _keep(open_whole: Callable[[], IO[bytes]]) -> str:
    """Where a copy stays: the place for temporary files, which the system clears."""
    fd, kept = tempfile.mkstemp(prefix="casfs-build-", suffix=".log")
    with open(fd, "wb") as copy, open_whole() as file:
        shutil.copyfileobj(file, copy)
    return kept


def _read_end(path: str) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _READ_BYTES))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _printable(line: str) -> str:
    return "".join(one for one in line.expandtabs() if one.isprintable())

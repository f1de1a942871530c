"""What a build had to say: kept in a file while it runs, and told only if it fails."""

from __future__ import annotations

import os

_READ_BYTES = 1 << 16
_WIDTH = 200


def read_said(path: str, more: str = "") -> list[str]:
    """The last lines of the file at `path`, and `more`; nothing of a file that is not there.

    Lines without what would move the cursor or colour the terminal; none is empty or longer than 200 characters.
    """
    found = [_printable(line)[:_WIDTH].rstrip() for line in f"{_read_end(path)}\n{more}".splitlines()]
    return [line for line in found if line]


def _read_end(path: str) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _READ_BYTES))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _printable(line: str) -> str:
    return "".join(one for one in line.expandtabs() if one.isprintable())

"""Derived files: they only save work, so writing one never fails, and one that is damaged is as good as none.

checksum of what follows (XXH3-128), line feed, content
"""

from __future__ import annotations

import contextlib
import os

from casfs.digest import checksum_bytes


def read_derived(path: str) -> bytes | None:
    """The content; None if there is none, or if it is not what was written."""
    with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
        checksum, _, content = file.read().partition(b"\n")
        if checksum == checksum_bytes(content).encode():
            return content
    return None


def write_derived(path: str, content: bytes) -> None:
    """Keep a content with its checksum."""
    put_in_place(path, checksum_bytes(content).encode() + b"\n" + content)


def put_in_place(path: str, data: bytes | bytearray) -> None:
    """Let a file hold these bytes, in place of what it held. A reader sees all of one or none of it."""
    with contextlib.suppress(OSError):
        with open(f"{path}.{os.getpid()}", "wb") as file:
            file.write(data)
        os.rename(f"{path}.{os.getpid()}", path)

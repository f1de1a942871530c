"""What can happen to one file, or be put in its place."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """A file that may be written for a moment, as whoever damages it may."""
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(0o644)
    yield
    path.chmod(mode)


def write(path: Path, content: bytes | str) -> None:
    """Write into a file without replacing it."""
    with writable(path):
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    write(path, bytes(content))


def shorten(path: Path) -> None:
    write(path, path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    write(path, path.read_bytes() + b"\0")


def empty(path: Path) -> None:
    write(path, b"")


def remove(path: Path) -> None:
    path.unlink()


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_directory(path: Path) -> None:
    path.unlink()
    (path / "with").mkdir(parents=True)


def make_link(path: Path) -> None:
    """A link to a file with the right bytes: still not what casfs put there."""
    content = path.read_bytes()
    path.unlink()
    store = next(parent for parent in path.parents if (parent / "format").exists())
    elsewhere = store.parent / f"elsewhere-{path.name}"
    elsewhere.write_bytes(content)
    path.symlink_to(elsewhere)


def make_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere")


def make_socket(path: Path) -> None:
    path.unlink()
    at = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is at most 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(at)


CHANGES = (flip, shorten, lengthen, empty)
REPLACEMENTS = (make_fifo, make_directory, make_link, make_dangling_link, make_socket)

"""lock: the environment as a lock file."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from casfs.cli.context import open_to_read
from casfs.cli.output import say
from casfs.cli.parser import Commands
from casfs.cli.uppers import note_what_was_written
from casfs.lockfiles.others import refuse_other_name
from casfs.lockfiles.writing import format_pylock
from casfs.store.following import resolve_path
from casfs.venv.reading import read_direct_url


def add_command(commands: Commands) -> None:
    """casfs lock"""
    lock = commands.add("lock", run_lock, "casfs lock --output pylock.toml")
    lock.add_argument("-o", "--output", metavar="FILE", help="where to write it (default: standard output)")


def run_lock(arguments: argparse.Namespace) -> None:
    """casfs lock"""
    target = None if arguments.output in {None, "-"} else _find_target(arguments.output)
    environment = open_to_read(arguments)
    text = format_pylock(environment.require(), lambda one: read_direct_url(environment.store, one))
    if target is None:
        say(text.rstrip("\n"))
    else:
        _write(target, text, arguments.umask)
    note_what_was_written(environment)


def _find_target(path: str) -> Path:
    """Where a lock is to be written. Raises PathRefused, and LockRefused for a file by whose name nobody knows it."""
    target = Path(resolve_path(path))
    if (target.is_file() or not target.exists()) and not path.startswith("/dev/"):  # a pipe or a device may have any name
        refuse_other_name(path)
    return target


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an OSError name the file that the user did."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _write(path: Path, text: str, umask: int) -> None:
    """The file whole, or as it was; a device or a pipe is written to, as whoever names one means it."""
    if path.exists() and not path.is_file():
        with _naming(path), path.open("w", encoding="utf-8") as file:
            file.write(text)
        return
    with (
        _naming(path),
        tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", encoding="utf-8", delete=False) as file,
    ):
        try:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~umask)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise

"""export: the environment as a plain virtual environment, in a directory or in a tar archive."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO

from casfs.changes.export import Exported, export_generation, require_place
from casfs.changes.tar import write_tar
from casfs.cli.context import open_context
from casfs.cli.output import format_count, format_size, note, progress_of_wheels
from casfs.cli.parser import Commands
from casfs.cli.uppers import note_what_is_missing
from casfs.errors import EnvironmentRefused
from casfs.store.availability import require_available
from casfs.store.following import resolve_path
from casfs.store.shared import shared_store_lock


def add_command(commands: Commands) -> None:
    """casfs export"""
    export = commands.add("export", run_export, "casfs export ~/project/.venv")
    where = export.add_mutually_exclusive_group(required=True)
    text = "where: nothing, or an empty directory; it appears when all of it is there"
    where.add_argument("directory", nargs="?", metavar="DIR", help=text)
    where.add_argument("--tar", metavar="FILE", help="write a tar archive, byte for byte reproducible (-: standard output)")


def run_export(arguments: argparse.Namespace) -> None:
    """casfs export"""
    environment = open_context(arguments)
    store, target = environment.store, arguments.tar or resolve_path(arguments.directory)
    with shared_store_lock(store), progress_of_wheels() as progress:  # its generation may be replaced meanwhile, but not collected
        generation = environment.require()
        require_available(environment, generation)

        def show(size: int, total: int) -> None:
            progress(target, size, total)

        if arguments.tar:
            with writing_file(arguments.tar) as file:
                note_what_is_missing(environment)
                done = write_tar(store, generation, file, show)
        else:
            require_place(store, target)
            note_what_is_missing(environment)
            done = export_generation(store, generation, target, show)
    note(f"{target}: generation {generation.number}, {_describe(done)}")


def _describe(done: Exported) -> str:
    shared = f", {format_size(done.shared)} of it shared with the pool" if done.shared else ""
    return f"{format_count(done.files, 'file')}, {format_size(done.size)}{shared}"


@contextlib.contextmanager
def writing_file(path: str) -> Iterator[BinaryIO]:
    """A file to write, which appears at `path` when the block has ended; or standard output for "-". Raises EnvironmentRefused, OSError."""
    if path == "-":
        if sys.stdout.isatty():
            raise EnvironmentRefused("-", "is a terminal; name a file, or send standard output to a command")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.isdir(path):
        raise EnvironmentRefused(path, "is a directory; name a file")
    temporary = f"{path}.{os.getpid()}.part"
    try:
        with open(temporary, "xb") as file:
            yield file
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise

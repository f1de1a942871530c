"""image: the metadata image of the environment, for others to mount."""

from __future__ import annotations

import argparse
import os

from casfs.cli.commands.export import writing_file
from casfs.cli.context import open_context
from casfs.cli.output import format_size, note
from casfs.cli.parser import Commands
from casfs.store.availability import require_available
from casfs.store.shared import shared_store_lock
from casfs.venv.image.composefs import add_composefs_header
from casfs.venv.image.erofs import TRUSTED
from casfs.venv.image.image import ImageSpec, build_image


def add_command(commands: Commands) -> None:
    """casfs image"""
    image = commands.add("image", run_image, "casfs image -o project.erofs")
    image.add_argument("-o", "--output", metavar="FILE", required=True, help="where to write it (-: standard output)")
    image.add_argument("--composefs", action="store_true", help="as composefs takes it, with the store's blobs/ as its object store")


def run_image(arguments: argparse.Namespace) -> None:
    """casfs image"""
    environment = open_context(arguments)
    with shared_store_lock(environment.store), writing_file(arguments.output) as file:
        generation = environment.require()
        require_available(environment, generation)
        pieces = build_image(environment.store, ImageSpec(generation, TRUSTED) if arguments.composefs else ImageSpec(generation))
        if arguments.composefs:
            pieces = add_composefs_header(pieces)
        size = sum(map(len, pieces))
        for piece in pieces:
            file.write(piece)
    blobs = os.path.realpath(environment.store.pool.directory)
    note(f"{arguments.output}: generation {generation.number}, {format_size(size)}; the files' bytes are in {blobs}")

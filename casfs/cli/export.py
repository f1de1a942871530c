"""export: the environment as a plain virtual environment."""

from __future__ import annotations

import argparse

from casfs.cli.context import open_context
from casfs.cli.output import format_count, format_size, note, progress_of_wheels
from casfs.cli.uppers import note_what_is_missing
from casfs.store.following import resolve_path
from casfs.store.reliance import require_present
from casfs.store.shared import relying
from casfs.venv.plain.exported import export_generation, require_place


def run_export(arguments: argparse.Namespace) -> None:
    """casfs export"""
    environment = open_context(arguments)
    directory = resolve_path(arguments.directory)
    with relying(environment.store), progress_of_wheels() as progress:  # its generation may be replaced meanwhile, but not collected
        generation = environment.require()
        require_present(environment, generation)
        require_place(environment.store, directory)
        note_what_is_missing(environment)
        done = export_generation(environment.store, generation, directory, lambda size, total: progress(directory, size, total))
    shared = f", {format_size(done.shared)} of it shared with the pool" if done.shared else ""
    note(f"{directory}: generation {generation.number}, {format_count(done.files, 'file')}, {format_size(done.size)}{shared}")

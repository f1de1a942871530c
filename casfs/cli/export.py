"""export: the environment as a plain virtual environment."""

from __future__ import annotations

import argparse
import os

from casfs.cli.context import open_context
from casfs.cli.output import format_count, format_size, note, progress_of_wheels
from casfs.cli.uppers import summarise_upper
from casfs.store.environments import Environment
from casfs.store.reliance import require_present
from casfs.venv.plain.exported import export_generation, require_place


def run_export(arguments: argparse.Namespace) -> None:
    """casfs export"""
    environment = open_context(arguments)
    generation = environment.require()
    require_present(environment, generation)
    directory = os.path.realpath(arguments.directory)
    require_place(environment.store, directory)
    _say_what_is_missing(environment)
    with progress_of_wheels() as progress:
        done = export_generation(environment.store, generation, directory, lambda size, total: progress(directory, size, total))
    shared = f", {format_size(done.shared)} of it shared with the pool" if done.shared else ""
    note(f"{directory}: generation {generation.number}, {format_count(done.files, 'file')}, {format_size(done.size)}{shared}")


def _say_what_is_missing(environment: Environment) -> None:
    """What tools wrote into the mounts is no part of a generation; whoever meant it should know."""
    summary = summarise_upper(environment)
    if summary is None or summary.is_empty:
        return
    installed = sum(bool(one.tool) for one in summary.projects.values())
    found = [format_count(installed, "distribution")] if installed else []
    found += [format_count(summary.files_of_nobody, "file")] if summary.files_of_nobody else []
    what = " and ".join(found)
    note(f"not part of it, since changed in a mount: {what}; `casfs diff` names them, `casfs absorb` keeps what tools installed")

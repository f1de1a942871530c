"""list: the distributions of the environment."""

from __future__ import annotations

import argparse
import contextlib

from casfs.cli.context import open_to_read
from casfs.cli.options import add_json
from casfs.cli.output import format_count, format_size, note, say_json, say_table
from casfs.cli.parser import Commands
from casfs.errors import CasfsError
from casfs.store.generations import Distribution
from casfs.upper.upper_conflicts import count_changes_by_tools


def add_command(commands: Commands) -> None:
    """casfs list"""
    add_json(commands.add("list", run_list, "casfs list --json"))


def run_list(arguments: argparse.Namespace) -> None:
    """casfs list"""
    environment = open_to_read(arguments)
    generation = environment.require()
    distributions = sorted(generation.distributions, key=lambda one: one.project)
    if arguments.json:
        say_json(
            [
                {"name": one.name, "version": one.version, "bytes": size_of(one), "wheel": one.wheel or None, "origin": one.origin}
                for one in distributions
            ]
        )
        return
    if distributions:
        say_table(
            ("Distribution", "Version", "Size"),
            [(distribution.name, distribution.version, format_size(size_of(distribution))) for distribution in distributions],
        )
    else:
        note(f"environment {environment.name!r} is empty; `casfs add NAME` adds a project to it")
    with contextlib.suppress(CasfsError, OSError):  # `casfs diff` says what is wrong with what was written
        _note_changes_by_tools(*count_changes_by_tools(environment, generation))


def _note_changes_by_tools(installed: int, removed: int) -> None:
    """Say why pip, asked in a mount, lists something else."""
    if installed or removed:
        what = [f"{format_count(installed, 'distribution')} installed"] if installed else []
        what += [f"{removed} removed" if installed else f"{format_count(removed, 'distribution')} removed"] if removed else []
        note(f"{', '.join(what)} by other tools in its mounts; `casfs diff` shows them, `casfs absorb` takes them in")


def size_of(distribution: Distribution) -> int:
    """Bytes of its files."""
    return distribution.files.size + distribution.installation.size

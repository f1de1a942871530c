"""absorb: what tools installed in the mounts becomes part of the environment."""

from __future__ import annotations

import argparse
import contextlib
from functools import partial

from casfs.changes.absorb import absorb_upper, prepare_absorption
from casfs.cli.bytecode import find_maker, make_if_possible, note_bytecode
from casfs.cli.changes import say_change
from casfs.cli.context import open_context
from casfs.cli.options import add_json, add_no_compile
from casfs.cli.output import format_count, format_size, note, progress_of_wheels, warn
from casfs.cli.parser import Commands
from casfs.cli.uppers import frozen_upper, mountpoints_of, summarise_upper, sweep_upper
from casfs.errors import CasfsError
from casfs.mounts.refresh import refresh_mounts
from casfs.store.pending_changes import changing
from casfs.upper.summary import Summary
from casfs.venv.bytecode.bytecode import leave_as_they_are


def add_command(commands: Commands) -> None:
    """casfs absorb"""
    absorb = commands.add("absorb", run_absorb, "casfs absorb")
    add_no_compile(absorb)
    add_json(absorb)


def run_absorb(arguments: argparse.Namespace) -> None:
    """casfs absorb"""
    environment = open_context(arguments)
    environment.require()
    with progress_of_wheels() as progress:
        maker = find_maker(environment, progress)
        if maker and not arguments.no_compile:
            with contextlib.suppress(CasfsError, OSError):  # people write meanwhile; what is still wrong below is told there
                prepare_absorption(environment, mountpoints_of(environment), partial(make_if_possible, maker))
    with changing(environment.store), frozen_upper(environment):
        done = absorb_upper(environment, mountpoints_of(environment), maker.take_known if maker else leave_as_they_are)
        refresh_mounts(environment, warn)
    sweep_upper(environment)
    if done is None:
        if arguments.json:
            say_change(arguments, environment, current := environment.require(), current)
        note(f"nothing was written into a mount of {environment.name}")
        return
    say_change(arguments, environment, done.before, done.after)
    for refused in done.refused:
        warn(f"{refused}; it stays in the upper layer")
    for one in done.notes:
        warn(one)
    for conflict in done.conflicts:
        warn(f"{conflict}; {conflict.outcome}")
    if maker:
        note_bytecode(maker.made)
    note(f"upper layer: {format_size(done.size_before)} before, {format_size(done.size_after)} now")
    if (left := summarise_upper(environment)) is not None:
        _say_what_stays(left)


def _say_what_stays(left: Summary) -> None:
    """Edits and files of nobody are not taken over; whoever meant them should know."""
    if count := left.files_of_nobody:
        note(f"{format_count(count, 'file')} in it stay: edited, or part of no installed distribution; `casfs diff` names them")

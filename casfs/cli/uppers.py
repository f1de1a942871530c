"""diff, absorb, reset: what tools wrote into the mounts of an environment."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial

from casfs.cli.bytecode import find_maker, make_if_possible, note_bytecode
from casfs.cli.changes import say_change
from casfs.cli.context import open_context, open_to_read
from casfs.cli.output import format_count, format_size, note, progress_of_wheels, say, say_json, warn
from casfs.cli.showing import tell_daemons
from casfs.errors import CasfsError, EnvironmentRefused
from casfs.store.environments import Environment
from casfs.store.leases import iter_leases
from casfs.store.unfinished import changing
from casfs.store.uppers import current_upper, make_current, next_upper
from casfs.venv.bytecode.bytecode import leave_as_they_are
from casfs.venv.changes import parse_project
from casfs.venv.reading import LayerReader
from casfs.venv.tree import Tree
from casfs.venv.upper.absorb import absorb_upper, prepare_absorption
from casfs.venv.upper.merged import MergedView
from casfs.venv.upper.summary import ProjectSummary, Summary, WrittenFile, summarise
from casfs.venv.upper.undoing import undo_projects
from casfs.venv.upper.written import Writings

_MAX_LINES = 20
"""Files that `reset` names before it asks: who wants all of them has `diff`."""


@contextlib.contextmanager
def _frozen(environment: Environment) -> Iterator[None]:
    """Nobody writes into the environment's mounts during the block. Raises MountRefused if somebody is about to."""
    if os.geteuid() != 0:
        yield
        return
    from casfs.mount.overlays import frozen

    with frozen(environment.store, environment.name):
        yield


def _sweep(environment: Environment) -> None:
    """Free the disk of upper layers that no mount shows any more and no process uses."""
    if os.geteuid() != 0:
        return
    from casfs.mount.overlays import sweep_work
    from casfs.mount.places import locked_places

    with locked_places(environment.store):
        sweep_work(environment)


def run_diff(arguments: argparse.Namespace) -> None:
    """casfs diff"""
    environment = open_to_read(arguments)
    summary = summarise_upper(environment)
    if arguments.json:
        say_json(_describe_summary(summary))
    elif summary is None:
        note(f"nothing was written into a mount of {environment.name}")
    else:
        _say_summary(summary, None)


def run_absorb(arguments: argparse.Namespace) -> None:
    """casfs absorb"""
    environment = open_context(arguments)
    environment.require()
    with progress_of_wheels() as progress:
        maker = find_maker(environment, progress)
        if maker and not arguments.no_compile:
            with contextlib.suppress(CasfsError, OSError):  # people write meanwhile; what is still wrong below is told there
                prepare_absorption(environment, _mountpoints(environment), partial(make_if_possible, maker))
    with changing(environment.store), _frozen(environment):
        done = absorb_upper(environment, _mountpoints(environment), maker.take_known if maker else leave_as_they_are)
        tell_daemons(environment)
    _sweep(environment)
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


def run_reset(arguments: argparse.Namespace) -> None:
    """casfs reset"""
    environment = open_context(arguments)
    summary = summarise_upper(environment)
    if summary is None:
        note(f"nothing was written into a mount of {environment.name}")
        return
    projects = [*dict.fromkeys(map(parse_project, arguments.names))]
    if not arguments.yes:
        _ask(environment, _only(summary, projects))
    with changing(environment.store), _frozen(environment):
        if projects:
            undo_projects(environment, projects)
        else:
            with environment.locked():
                make_current(environment, next_upper(environment))
        tell_daemons(environment)
    _sweep(environment)
    what = f"{', '.join(projects)} as generation {environment.current_number()} has it" if projects else ""
    note(f"{environment.name} shows {what or f'generation {environment.current_number()} alone'} again")


def _only(summary: Summary, projects: Sequence[str]) -> Summary:
    """What a summary says of these projects; all of it if none are named."""
    if not projects:
        return summary
    found = {name: one for name, one in summary.projects.items() if name in projects}
    size = sum(one.size + sum(file.size for file in one.edited) for one in found.values())
    return Summary(found, [], [], 0, 0, size)


def _ask(environment: Environment, summary: Summary) -> None:
    """Go on only if a user says so. Raises EnvironmentRefused."""
    if not sys.stdin.isatty():
        raise EnvironmentRefused(environment.name, "there is no terminal to ask on; `casfs reset --yes` does not ask")
    _say_summary(summary, _MAX_LINES)
    sys.stdout.flush()
    print(f"Throw away {format_size(summary.size)}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise EnvironmentRefused(environment.name, "nothing was thrown away")


def _mountpoints(environment: Environment) -> set[str]:
    """Where the environment is mounted: scripts that tools made name their interpreter by these paths."""
    from casfs.mount.places import iter_places

    leases = {lease.mountpoint for lease in iter_leases(environment.store) if lease.environment == environment.name}
    return leases | {place.path for place in iter_places(environment.store) if place.environment == environment.name}


def summarise_upper(environment: Environment) -> Summary | None:
    """What is in the upper layer; None if nothing is."""
    generation = environment.require()
    if (upper := current_upper(environment)) is None:
        return None
    with Writings(upper.files) as writings:
        if not writings.entries:
            return None
        return summarise(MergedView(writings, Tree(generation), LayerReader(environment.store).fill, environment.store.pool))


def note_what_is_missing(environment: Environment) -> None:
    """What tools wrote into the mounts is no part of a generation; whoever meant it should know."""
    summary = summarise_upper(environment)
    if summary is None or summary.is_empty:
        return
    installed = sum(bool(one.tool) for one in summary.projects.values())
    found = [format_count(installed, "distribution")] if installed else []
    found += [format_count(summary.files_of_nobody, "file")] if summary.files_of_nobody else []
    what = " and ".join(found)
    note(f"not part of it, because it was changed in a mount: {what}; `casfs diff` names them, `casfs absorb` keeps what tools installed")


def _say_summary(summary: Summary, most: int | None) -> None:
    """Distributions first, then files, of which `most` are named."""
    projects = sorted(summary.projects.values(), key=lambda one: one.project)
    for one in projects:
        if one.tool:
            say(_describe_project(one))
    files = [(one.name, file) for one in projects if not one.tool for file in one.edited] + [("", file) for file in summary.loose]
    for name, file in files[:most]:
        say(_describe_file(name, file))
    if most is not None and len(files) > most:
        say(f"  and {format_count(len(files) - most, 'more file')}")
    for problem in summary.unreadable:
        warn(str(problem))
    bytecode = f", {format_count(summary.bytecode_files, 'bytecode file')} among them" if summary.bytecode_files else ""
    note(f"{format_size(summary.size)} in the upper layer{bytecode}")


def _describe_project(one: ProjectSummary) -> str:
    if one.after is None:
        return f"- {one.name} {one.before}"
    versions = one.after if one.before in {None, one.after} else f"{one.before} -> {one.after}"
    sign = "+" if one.before is None else "~"
    return f"{sign} {one.name} {versions} ({one.tool}, {format_count(one.files, 'file')}, {format_size(one.size)})"


def _describe_file(name: str, file: WrittenFile) -> str:
    return f"  {file.action:7} {file.path}" + (f" ({name})" if name else "")


def _describe_summary(summary: Summary | None) -> dict[str, object]:
    """For programs."""
    if summary is None:
        return {"distributions": [], "files": [], "bytecode": {"file_count": 0, "bytes": 0}, "problems": [], "bytes": 0}
    changed = [one for one in summary.projects.values() if one.tool or one.edited]
    return {
        "distributions": [
            {
                "name": one.name,
                "before": one.before,
                "after": one.after if one.tool else one.before,
                "installer": one.tool or None,
                "file_count": one.files,
                "bytes": one.size,
                "edited": [_describe_written(file) for file in one.edited],
            }
            for one in sorted(changed, key=lambda one: one.project)
        ],
        "files": [_describe_written(file) for file in summary.loose],
        "bytecode": {"file_count": summary.bytecode_files, "bytes": summary.bytecode_size},
        "problems": [str(one) for one in summary.unreadable],
        "bytes": summary.size,
    }


def _describe_written(file: WrittenFile) -> dict[str, object]:
    return {"path": file.path, "action": file.action, "bytes": file.size}

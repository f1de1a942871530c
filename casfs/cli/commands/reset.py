"""reset: what was written into the mounts of the environment is thrown away."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from casfs.changes.changes import parse_project
from casfs.cli.context import open_context
from casfs.cli.output import format_size, note, warn
from casfs.cli.parser import Commands
from casfs.cli.uppers import frozen_upper, say_summary, summarise_upper, sweep_upper
from casfs.errors import EnvironmentRefused
from casfs.mounts.refresh import refresh_mounts
from casfs.store.environments import Environment
from casfs.store.pending_changes import changing
from casfs.store.uppers import make_current, next_upper
from casfs.upper.summary import Summary
from casfs.upper.upper_conflicts import undo_projects

_MAX_LINES = 20
"""Files that `reset` names before it asks: who wants all of them has `diff`."""


def add_command(commands: Commands) -> None:
    """casfs reset"""
    reset = commands.add("reset", run_reset, "casfs reset")
    text = "throw away only the changes to this project (default: all changes)"
    reset.add_argument("names", nargs="*", metavar="NAME", help=text)
    reset.add_argument("--yes", action="store_true", help="without asking")


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
    with changing(environment.store), frozen_upper(environment):
        if projects:
            undo_projects(environment, projects)
        else:
            with environment.locked():
                make_current(environment, next_upper(environment))
        refresh_mounts(environment, warn)
    sweep_upper(environment)
    what = f"{', '.join(projects)} as generation {environment.current_number()} has it" if projects else ""
    note(f"{environment.name} shows {what or f'generation {environment.current_number()} alone'} again")


def _only(summary: Summary, projects: Sequence[str]) -> Summary:
    """What a summary says of these projects; all of it if none are named."""
    if not projects:
        return summary
    found = {name: project for name, project in summary.projects.items() if name in projects}
    size = sum(one.size + sum(file.size for file in one.edited) for one in found.values())
    return Summary(found, [], [], 0, 0, size)


def _ask(environment: Environment, summary: Summary) -> None:
    """Go on only if a user says so. Raises EnvironmentRefused."""
    if not sys.stdin.isatty():
        raise EnvironmentRefused(environment.name, "there is no terminal to ask on; `casfs reset --yes` does not ask")
    say_summary(summary, _MAX_LINES)
    sys.stdout.flush()
    print(f"Throw away {format_size(summary.size)}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise EnvironmentRefused(environment.name, "nothing was thrown away")

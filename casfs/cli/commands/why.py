"""why: who needs a distribution."""

from __future__ import annotations

import argparse

from casfs.cli.commands.tree import find_project, say_forest
from casfs.cli.context import open_to_read
from casfs.cli.options import add_json
from casfs.cli.output import note, say_json
from casfs.cli.parser import Commands
from casfs.venv.dependencies import DependencyGraph


def add_command(commands: Commands) -> None:
    """casfs why"""
    why = commands.add("why", run_why, "casfs why numpy")
    why.add_argument("name", metavar="NAME", help="name of a project")
    add_json(why)


def run_why(arguments: argparse.Namespace) -> None:
    """Say who requires it, and whether somebody asked for it."""
    environment = open_to_read(arguments)
    graph = DependencyGraph(environment.store, environment.require())
    project = find_project(environment, graph, arguments.name)
    distribution, requiring = graph.distributions[project], graph.required_by(project)
    if arguments.json:
        by = [{"name": graph.distributions[each.by].name, "specifier": each.specifier, "extras": list(each.extras)} for each in requiring]
        say_json({"name": distribution.name, "version": distribution.version, "is_requested": distribution.requested, "required_by": by})
        return
    say_forest(graph, [project], is_inverted=True)
    if distribution.requested:
        note(f"{distribution.name} was asked for" + (", and others require it" if requiring else ""))
    elif not requiring:
        note(f"nothing requires {distribution.name}; `casfs remove {distribution.name}` removes it")

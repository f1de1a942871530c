"""tree: what requires what, as a tree."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence

from casfs.changes.changes import parse_project
from casfs.cli.context import open_to_read
from casfs.cli.options import add_json, parse_positive
from casfs.cli.output import note, say, say_json
from casfs.cli.parser import Commands
from casfs.errors import EnvironmentRefused
from casfs.store.environments import Environment
from casfs.venv.dependencies import Dependency, DependencyGraph
from casfs.venv.similar import did_you_mean

_SEEN = "(*)"
"""Behind a distribution whose own requirements were shown above."""


def add_command(commands: Commands) -> None:
    """casfs tree"""
    tree = commands.add("tree", run_tree, "casfs tree --depth 2")
    tree.add_argument("names", nargs="*", metavar="NAME", help="only below this project (default: all that no other requires)")
    tree.add_argument("--invert", action="store_true", help="the reverse: below each project, who requires it")
    tree.add_argument("--depth", type=parse_positive, metavar="N", help="so many levels at most")
    add_json(tree)


def run_tree(arguments: argparse.Namespace) -> None:
    """Show it."""
    environment = open_to_read(arguments)
    graph = DependencyGraph(environment.store, environment.require())
    roots = [find_project(environment, graph, name) for name in arguments.names] or graph.roots()
    if arguments.json:
        say_json([_describe(graph, project) for project in sorted(graph.distributions)])
    elif not roots:
        note(f"environment {environment.name!r} is empty")
    else:
        say_forest(graph, roots, is_inverted=arguments.invert, depth=arguments.depth)


def find_project(environment: Environment, graph: DependencyGraph, name: str) -> str:
    """The project of a name. Raises EnvironmentRefused if it is not in the environment."""
    if (project := parse_project(name)) not in graph.distributions:
        raise EnvironmentRefused(environment.name, f"{name} is not in the environment{did_you_mean(project, graph.distributions)}")
    return project


def say_forest(graph: DependencyGraph, roots: Sequence[str], *, is_inverted: bool, depth: int | None = None) -> None:
    """Trees as `uv pip tree` shows them."""
    seen: set[str] = set()
    is_any_cut = False
    for root in roots:
        for line in _iter_lines(graph, root, graph.required_by if is_inverted else graph.requires, seen, depth):
            is_any_cut |= line.endswith(_SEEN)
            say(line)
    if is_any_cut:
        note(f"{_SEEN} shown above already")


def _iter_lines(
    graph: DependencyGraph, root: str, find: Callable[[str], list[Dependency]], seen: set[str], depth: int | None
) -> Iterator[str]:
    """The lines of one tree, in the order in which they are shown; without recursion, since a chain may be long."""
    is_inverted = find == graph.required_by
    todo: list[tuple[str, str, str, int]] = [(root, "", "", 0)]  # project, what stands before its line, before those below, level
    while todo:
        project, before, below, level = todo.pop()
        one = graph.distributions.get(project)
        is_cut = project in seen and bool(find(project))
        yield f"{before}{one.name} {one.version}" + (f" {_SEEN}" if is_cut else "") if one else f"{before}{project} (missing)"
        if is_cut or one is None or (depth is not None and level >= depth):
            continue
        seen.add(project)
        others = list(dict.fromkeys(each.by if is_inverted else each.project for each in find(project)))
        for number, other in reversed(list(enumerate(others))):
            is_last = number == len(others) - 1
            todo.append((other, f"{below}{'└── ' if is_last else '├── '}", f"{below}{'    ' if is_last else '│   '}", level + 1))


def _describe(graph: DependencyGraph, project: str) -> dict[str, object]:
    distribution = graph.distributions[project]
    requires = [{"project": each.project, "specifier": each.specifier, "extras": list(each.extras)} for each in graph.requires(project)]
    return {"name": distribution.name, "version": distribution.version, "is_requested": distribution.requested, "requires": requires}

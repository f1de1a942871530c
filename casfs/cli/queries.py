"""list, show, generations."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from casfs.cli.context import open_context
from casfs.cli.output import format_size, say, say_json, say_table
from casfs.errors import EnvironmentRefused
from casfs.store.environments import Environment
from casfs.store.generations import Distribution
from casfs.store.manifests import ManifestFile, read_manifest
from casfs.venv.changes import parse_project
from casfs.venv.tree import Tree

_MAX_COMMAND = 60  # with the other columns of `generations` that is a wide terminal


def run_list(arguments: argparse.Namespace) -> None:
    """casfs list"""
    generation = open_context(arguments).require()
    found = sorted(generation.distributions, key=lambda one: one.project)
    if arguments.json:
        say_json(
            [
                {"name": one.name, "version": one.version, "bytes": _size(one), "wheel": one.wheel or None, "origin": one.origin}
                for one in found
            ]
        )
    elif found:
        say_table(("Distribution", "Version", "Size"), [(one.name, one.version, format_size(_size(one))) for one in found])


def _size(one: Distribution) -> int:
    return one.files.size + one.installation.size


def run_show(arguments: argparse.Namespace) -> None:
    """casfs show"""
    environment = open_context(arguments)
    generation = environment.require()
    if (one := generation.find(parse_project(arguments.name))) is None:
        raise EnvironmentRefused(environment.name, f"{arguments.name} is not in the environment")
    tree = Tree(generation)
    files = [(tree.shown_path(file.path), file) for file in _iter_files(environment, one)]
    about = read_manifest(environment.store, one.files.manifest).description
    facts: dict[str, object] = {
        "name": one.name,
        "version": one.version,
        "origin": one.origin,
        "wheel": one.wheel or None,
        "bytes": _size(one),
        "requires-python": about.requires_python,
        "tags": list(about.tags),
        "entry-points": [f"{name} = {module}:{attribute}" for name, module, attribute in about.entry_points],
        "record-mismatches": list(about.tolerated),
    }
    if arguments.json:
        listed = [{"path": path, "bytes": file.size, "sha256": file.digest, "kind": file.kind.name.lower()} for path, file in files]
        say_json({**facts, "files": listed})
    else:
        _say_facts(facts)
        say_table(("SHA-256", "Bytes", "Path"), [(file.digest, str(file.size), path) for path, file in files])


def _iter_files(environment: Environment, one: Distribution) -> Iterator[ManifestFile]:
    """Its files as the environment shows them, by path."""
    files: dict[str, ManifestFile] = {}
    for layer in (one.files, one.installation):
        files |= {file.path: file for file in read_manifest(environment.store, layer.manifest).iter_files()}
    yield from (files[path] for path in sorted(files))


def _say_facts(facts: dict[str, object]) -> None:
    for name, value in facts.items():
        if name == "bytes" and isinstance(value, int):
            say(f"size: {format_size(value)}")
        elif isinstance(value, list):
            for item in value:
                say(f"{name}: {item}")
        elif value is not None:
            say(f"{name}: {value}")
    say()


def run_generations(arguments: argparse.Namespace) -> None:
    """casfs generations"""
    environment = open_context(arguments)
    current = environment.require().number
    found = [environment.read(number) for number in environment.numbers()]
    if arguments.json:
        say_json(
            [
                {
                    "generation": one.number,
                    "is-current": one.number == current,
                    "created": one.created,
                    "command": one.command,
                    "distributions": {each.project: each.version for each in one.distributions},
                }
                for one in found
            ]
        )
        return
    rows = [
        ("*" if one.number == current else "", str(one.number), one.created, str(len(one.distributions)), _shorten(one.command))
        for one in found
    ]
    say_table(("", "Generation", "Created", "Distributions", "Command"), rows)


def _shorten(command: str) -> str:
    """A command that names a hundred distributions, for a table; JSON has it whole."""
    return command if len(command) <= _MAX_COMMAND else f"{command[: _MAX_COMMAND - 1]}…"

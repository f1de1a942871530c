"""diff: what was written into the mounts of the environment."""

from __future__ import annotations

import argparse

from casfs.cli.changes import describe_change, say_difference
from casfs.cli.context import open_to_read
from casfs.cli.options import add_json, parse_positive
from casfs.cli.output import format_count, format_size, note, say_json
from casfs.cli.parser import SIGNS, Commands
from casfs.cli.uppers import describe_summary, say_summary, summarise_upper
from casfs.errors import EnvironmentRefused
from casfs.store.generations import Generation
from casfs.store.manifests import read_manifest
from casfs.store.store import Store


def add_command(commands: Commands) -> None:
    """casfs diff"""
    diff = commands.add("diff", run_diff, f"casfs diff 3 5\n\n{SIGNS}")
    text = "compare this generation with the other one, or with the current one (default: show what was written into the mounts)"
    diff.add_argument("generations", nargs="*", type=parse_positive, metavar="N", help=text)
    diff.set_defaults(usage_error=diff.error)
    add_json(diff)


def run_diff(arguments: argparse.Namespace) -> None:
    """casfs diff"""
    if arguments.generations:
        _compare_generations(arguments)
        return
    environment = open_to_read(arguments)
    summary = summarise_upper(environment)
    if arguments.json:
        say_json(describe_summary(summary))
    elif summary is None:
        note(f"nothing was written into a mount of {environment.name}")
    else:
        say_summary(summary, None)


def _compare_generations(arguments: argparse.Namespace) -> None:
    """What became of one generation in another: distributions, files and bytes."""
    if len(arguments.generations) > 2:
        arguments.usage_error("name one generation or two")
    environment = open_to_read(arguments)
    numbers = [*arguments.generations, environment.require().number][:2]
    for number in set(numbers) - set(environment.numbers()):
        raise EnvironmentRefused(environment.name, f"there is no generation {number}; `casfs generations` lists them")
    before, after = map(environment.read, numbers)
    counted = [_count(environment.store, generation) for generation in (before, after)]
    if arguments.json:
        facts = {f"{name}_{when}": value for when, found in zip(("before", "after"), counted, strict=True) for name, value in found.items()}
        say_json({**describe_change(environment, before, after), "before": before.number, **facts})
        return
    say_difference(before, after)
    (old, new) = counted
    files, size = new["file_count"] - old["file_count"], new["bytes"] - old["bytes"]
    said = f"{'+' if files >= 0 else '-'}{format_count(abs(files), 'file')}, {'+' if size >= 0 else '-'}{format_size(abs(size))}"
    note(f"generation {before.number} to {after.number}: {said}")


def _count(store: Store, generation: Generation) -> dict[str, int]:
    layers = [layer for distribution in generation.distributions for layer in (distribution.files, distribution.installation)]
    return {
        "file_count": sum(len(read_manifest(store, layer.manifest).names) for layer in layers),
        "bytes": sum(one.size for one in layers),
    }

"""history: the generations, newest first, each with what it changed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from casfs.cli.changes import format_difference, iter_differences
from casfs.cli.context import open_to_read
from casfs.cli.options import add_json, parse_positive
from casfs.cli.output import local_time, note, say, say_json
from casfs.cli.parser import SIGNS, Commands
from casfs.store.generations import Generation


def add_command(commands: Commands) -> None:
    """casfs history"""
    history = commands.add("history", run_history, f"casfs history -n 5\n\n{SIGNS}")
    history.add_argument("-n", "--number", type=parse_positive, metavar="N", help="the newest N only")
    add_json(history)


def run_history(arguments: argparse.Namespace) -> None:
    """Show it."""
    environment = open_to_read(arguments)
    current = environment.require().number
    pairs = list(_iter_pairs(environment.read_all()))[: arguments.number]
    if arguments.json:
        say_json([_describe(before, after, current) for before, after in pairs])
        return
    for before, after in pairs:
        is_last = (before, after) == pairs[-1]
        say(f"{'*' if after.number == current else 'o'} {after.number}  {local_time(after.created)}  {after.command}")
        for old, new in iter_differences(before, after):
            say(f"{' ' if is_last else '│'}   {format_difference(old, new)}")
    if len(pairs) > 1:
        note(f"* is current; `casfs rollback N` returns to one, `casfs diff {pairs[-1][1].number} {current}` compares two")


def _iter_pairs(generations: list[Generation]) -> Iterator[tuple[Generation | None, Generation]]:
    """Each generation with the one before it, which is None for the first, and where that was dropped; the newest first."""
    found = sorted(generations, key=lambda one: one.number)
    yield from reversed(list(zip([None, *found], found, strict=False)))


def _describe(before: Generation | None, after: Generation, current: int) -> dict[str, object]:
    changes = [
        {
            "name": new.name if new else old.name if old else None,
            "before": old.version if old else None,
            "after": new.version if new else None,
        }
        for old, new in iter_differences(before, after)
    ]
    facts = {"generation": after.number, "is_current": after.number == current, "created": after.created}
    return {**facts, "command": after.command, "changes": changes}

"""generations: the states that the environment has had."""

from __future__ import annotations

import argparse

from casfs.cli.context import open_to_read
from casfs.cli.options import add_json
from casfs.cli.output import local_time, say_json, say_table
from casfs.cli.parser import Commands


def add_command(commands: Commands) -> None:
    """casfs generations"""
    add_json(commands.add("generations", run_generations, "casfs generations --json"))


def run_generations(arguments: argparse.Namespace) -> None:
    """casfs generations"""
    environment = open_to_read(arguments)
    current = environment.require().number
    generations = environment.read_all()
    if arguments.json:
        say_json(
            [
                {
                    "generation": one.number,
                    "is_current": one.number == current,
                    "created": one.created,
                    "command": one.command,
                    "distributions": [{"name": each.name, "version": each.version} for each in one.distributions],
                }
                for one in generations
            ]
        )
        return
    rows = [
        (
            "*" if generation.number == current else "",
            str(generation.number),
            local_time(generation.created),
            str(len(generation.distributions)),
            generation.command,
        )
        for generation in generations
    ]
    say_table(("", "Generation", "Created", "Distributions", "Command"), rows)

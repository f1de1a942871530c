"""diff: what was written into the mounts of the environment."""

from __future__ import annotations

import argparse

from casfs.cli.context import open_to_read
from casfs.cli.options import add_json
from casfs.cli.output import note, say_json
from casfs.cli.parser import Commands
from casfs.cli.uppers import describe_summary, say_summary, summarise_upper


def add_command(commands: Commands) -> None:
    """casfs diff"""
    add_json(commands.add("diff", run_diff, "casfs diff --json"))


def run_diff(arguments: argparse.Namespace) -> None:
    """casfs diff"""
    environment = open_to_read(arguments)
    summary = summarise_upper(environment)
    if arguments.json:
        say_json(describe_summary(summary))
    elif summary is None:
        note(f"nothing was written into a mount of {environment.name}")
    else:
        say_summary(summary, None)

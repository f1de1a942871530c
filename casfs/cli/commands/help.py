"""help: the commands, or one of them."""

from __future__ import annotations

import argparse

from casfs.cli.parser import Commands, build_parser


def add_command(commands: Commands) -> None:
    """casfs help"""
    commands.add("help", run_help, "casfs help add").add_argument("words", nargs="*", metavar="COMMAND", help="a command")


def run_help(arguments: argparse.Namespace) -> None:
    """Let argparse explain it."""
    build_parser(arguments.words).parse_args([*arguments.words, "--help"])

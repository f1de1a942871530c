"""help; and what casfs alone says."""

from __future__ import annotations

import argparse

from casfs.cli.output import say
from casfs.cli.parser import build_parser

_GREETING = """\
casfs add numpy pandas         add projects to the environment, by name or as wheels
casfs mount ~/project/.venv    show it as a virtual environment
casfs list                     list what is in it
casfs status                   list what is mounted
casfs help [COMMAND]           list all commands, or explain one"""


def run_greeting(arguments: argparse.Namespace) -> None:
    """casfs"""
    say(_GREETING)


def run_help(arguments: argparse.Namespace) -> None:
    """casfs help"""
    build_parser(arguments.words).parse_args([*arguments.words, "--help"])

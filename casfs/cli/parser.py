"""The parser: what there is to type. Each command is a module of `casfs.cli.commands` that has its name, with its options and its function.

Only what the command that was typed needs is loaded and built: all of it takes longer than many a command.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from casfs import __version__
from casfs.cli.client import find_command
from casfs.cli.options import add_places
from casfs.cli.output import escape, say

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

Run = Callable[[argparse.Namespace], int | None]
"""Runs a command; answers its exit code, None for 0."""

_DESCRIPTION = """Give a Python project its environment by writing a manifest.

The files of every wheel live once, in a pool; a mount shows them as an ordinary virtual environment."""

_EXAMPLE = """example:
  casfs add numpy-2.4.6-*.whl
  casfs mount ~/project/.venv
  ~/project/.venv/bin/python -c 'import numpy'"""

_GREETING = """\
casfs add numpy pandas         add projects to the environment, by name or as wheels
casfs mount ~/project/.venv    show it as a virtual environment
casfs list                     list what is in it
casfs status                   list what is mounted
casfs help [COMMAND]           list all commands, or explain one"""

COMMANDS = {
    "add": "add distributions to the environment, by name or as files; wheel files alone are taken as they are, without what they need",
    "compile": "compile the environment's sources to bytecode, once for the store",
    "sync": "make the environment exactly what a lock file says",
    "lock": "write the environment as a pylock.toml (PEP 751)",
    "adopt": "make the environment of an existing virtual environment, which is only read",
    "export": "write the environment as a plain virtual environment, which works without casfs",
    "image": "write the environment's metadata image (EROFS), which an overlay shows with the pool's files",
    "remove": "remove distributions from the environment",
    "rollback": "return to an earlier generation by making a new one that equals it; no generation is lost",
    "diff": "show what was written into the mounts of the environment, or what differs between two generations",
    "absorb": "keep what pip, uv or Poetry installed in a mount, as part of the environment",
    "reset": "throw away what was written into the mounts of the environment",
    "list": "list the distributions of the environment",
    "generations": "list the generations of the environment",
    "history": "list the generations of the environment, newest first, with what each changed",
    "tree": "show what requires what in the environment, as a tree",
    "why": "show who requires a distribution",
    "status": "show the mounts, the processes that serve them, and their requests",
    "metrics": "print what the daemons do, for Prometheus",
    "show": "show what a distribution is, what it requires and where it comes from; or the same of a file in a mount",
    "fsck": "check everything in the store; exit code 3 if something is damaged",
    "mount": "show the environment as a virtual environment",
    "umount": "end a mount",
    "run": "run a command in the environment, or in one of some wheels",
    "env": "list, change or remove the environments of the store",
    "pool": "choose the shared pools that lie behind the store, read-only; fill the store's own",
    "collect": "remove files that nothing needs from the store, such as those of removed environments and killed commands",
    "daemon": "look after the processes that serve mounts",
    "help": "list the commands, or explain one",
    "manual": "read the manual",
}
"""Every command and what it does, in the order in which help lists them."""

SIGNS = "signs: + added, - removed, ~ another version or another origin, = already there"


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of these words. If they begin with a command it knows no other; if they name none it only lists them."""
    parser = Parser("casfs", description=_DESCRIPTION, epilog=_EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"casfs {__version__}")
    add_places(parser, None)
    parser.set_defaults(run=_greet)
    commands = Commands(parser.add_subparsers(title="commands", metavar="COMMAND"))
    command = find_command(words)
    if command in COMMANDS:
        _load(command).add_command(commands)
    elif COMMANDS.keys().isdisjoint(words):
        for name in COMMANDS:
            commands.add(name, _greet, "")
    else:
        for name in COMMANDS:
            _load(name).add_command(commands)
    return parser


def _load(command: str) -> Any:
    return importlib.import_module(f"casfs.cli.commands.{command}")


def _greet(arguments: argparse.Namespace) -> None:
    """casfs alone"""
    say(_GREETING)


@dataclass(frozen=True, slots=True)
class _Choices:
    """Names of commands, for argparse: those that it knows, of which an error names only some."""

    hidden: frozenset[str]
    named: Sequence[str]

    def __contains__(self, name: str) -> bool:
        return name in self.hidden or name in self.named

    def __iter__(self) -> Iterator[str]:
        return iter(self.named)


_SYNONYMS = {"install": "add", "i": "add", "upgrade": "add", "update": "add", "uninstall": "remove", "delete": "remove", "rm": "remove"}
_SYNONYMS |= {"ls": "list", "freeze": "lock", "info": "show", "log": "generations", "history": "generations", "undo": "rollback"}
_SYNONYMS |= {"unmount": "umount", "exec": "run", "gc": "collect", "prune": "collect", "check": "fsck", "verify": "fsck", "venv": "mount"}
"""What other programs call our commands."""


class Parser(argparse.ArgumentParser):
    """argparse's, whose help is a result like others: where it can't be written, the command fails."""

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        if file is not None and file is sys.stdout:
            say(message.rstrip("\n"))
            return
        super()._print_message(message, file)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """A command that there is not is an error of one line, which names what is probably meant."""
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            from difflib import get_close_matches

            kind = "command" if self.prog == "casfs" else "action"
            known = [*action.choices]
            meant = _SYNONYMS.get(value, value)
            found = [meant] if meant in known else get_close_matches(value, [*known, *_SYNONYMS], n=1)
            near = next((name for one in found if (name := _SYNONYMS.get(one, one)) in known), None)
            hint = f"; did you mean `{self.prog} {near}`?" if near else ""
            every = "`casfs help` lists them" if self.prog == "casfs" else f"There are: {', '.join(known)}"
            self.exit(2, f"casfs: there is no {kind} {escape(repr(value))}{hint or ';'} {every}\n")
        super()._check_value(action, value)


class Commands:
    """Adds commands that look alike: one line of help, an example, and the places."""

    def __init__(self, subparsers: argparse._SubParsersAction[Parser]) -> None:
        self._subparsers = subparsers

    def add(self, name: str, run: Run, example: str, text: str = "") -> Parser:
        """A command, or with a text of its own an action of one."""
        text = text or COMMANDS[name]
        parser = self._subparsers.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_places(parser, argparse.SUPPRESS)
        parser.set_defaults(run=run)
        return parser

    def add_group(self, name: str, example: str) -> Commands:
        """A command that is one of several actions."""
        group = self.add(name, _greet, example)
        return Commands(group.add_subparsers(title="actions", metavar="ACTION", required=True))

    def add_hidden(self, name: str, run: Run) -> Parser:
        """A command that casfs gives itself: neither help nor an error names it. To be added when all others are."""
        before: object = self._subparsers.choices
        hidden = before.hidden if isinstance(before, _Choices) else frozenset()
        named = (*self._subparsers.choices,)
        parser = self._subparsers.add_parser(name)
        self._subparsers.choices = _Choices(hidden | {name}, named)  # type: ignore[assignment]
        add_places(parser, argparse.SUPPRESS)
        parser.set_defaults(run=run)
        return parser

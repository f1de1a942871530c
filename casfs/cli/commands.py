"""Commands that look alike: what each of them gets from argparse."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from casfs.cli.output import escape, say

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


def add_places(parser: argparse.ArgumentParser, default: object) -> None:
    """Where a command works; the options may stand before or after its name."""
    parser.add_argument("--store", metavar="DIR", default=default, help="the store (default: CASFS_STORE, or the user's data directory)")
    parser.add_argument("--env", metavar="NAME", default=default, help="the environment (default: CASFS_ENV, or 'default')")
    off = default or False
    text = "run the command in this process, also where a daemon could run it faster (or: CASFS_SERVER=0)"
    parser.add_argument("--no-server", action="store_true", default=default or False, help=text)
    parser.add_argument("-q", "--quiet", action="store_true", default=off, help="say nothing but results, warnings and errors")
    parser.add_argument(
        "-v", "--verbose", action="store_true", default=off, help="say which store and environment, and where an error arose"
    )


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

    def add(self, name: str, run: str, text: str, example: str) -> Parser:
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

    def add_hidden(self, name: str, run: str) -> Parser:
        """A command that casfs gives itself: neither help nor an error names it. To be added when all others are."""
        before: object = self._subparsers.choices
        hidden = before.hidden if isinstance(before, _Choices) else frozenset()
        named = (*self._subparsers.choices,)
        parser = self._subparsers.add_parser(name)
        self._subparsers.choices = _Choices(hidden | {name}, named)  # type: ignore[assignment]
        add_places(parser, argparse.SUPPRESS)
        parser.set_defaults(run=run)
        return parser

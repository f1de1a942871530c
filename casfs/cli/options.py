"""Options that several commands have, and what their values may be."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from typing import Any

from casfs.wheels.source import MAX_WHEEL_SIZE


def parse_size(text: str) -> int:
    """Bytes; K, M and G are powers of 1,024, as with dd(1)."""
    if not (match := re.fullmatch(r"([0-9]{1,15})([KMGT]?)", text.upper())):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write bytes, or a number with K, M or G, such as 2G")
    return int(match[1]) << 10 * " KMGT".index(match[2] or " ")


def parse_whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def parse_positive(text: str) -> int:
    """A whole number that is 1 or more."""
    if (number := parse_whole(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def add_places(parser: argparse.ArgumentParser, default: object) -> None:
    """Where a command works; the options may stand before or after its name."""
    parser.add_argument("--store", metavar="DIR", default=default, help="the store (default: CASFS_STORE, or the user's data directory)")
    parser.add_argument("--env", metavar="NAME", default=default, help="the environment (default: CASFS_ENV, or 'default')")
    off = default or False
    text = "run the command in this process, also where a daemon could run it faster (or: CASFS_SERVER=0)"
    parser.add_argument("--no-server", action="store_true", default=off, help=text)
    parser.add_argument("-q", "--quiet", action="store_true", default=off, help="say nothing but results, warnings and errors")
    parser.add_argument(
        "-v", "--verbose", action="store_true", default=off, help="say which store and environment, and where an error arose"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Let a command print for programs."""
    parser.add_argument("--json", action="store_true", help="print JSON; notes, warnings and errors go to standard error as ever")


def add_python(parser: argparse.ArgumentParser, text: str = "interpreter of a new environment: a path, or a version such as 3.12") -> None:
    """Let a command choose an interpreter."""
    parser.add_argument("--python", metavar="PYTHON", help=text)


def add_no_compile(parser: argparse.ArgumentParser) -> None:
    """Let a command do without new bytecode."""
    parser.add_argument("--no-compile", action="store_true", help="compile nothing to bytecode; bytecode that the pool has is still used")


def add_manner(parser: argparse.ArgumentParser) -> None:
    """What a command that adds wheels tolerates."""
    parser.add_argument("--strict", action="store_true", help="refuse two distributions that claim one path with different contents")
    parser.add_argument(
        "--allow-record-mismatch", action="store_true", help="take a wheel whose RECORD disagrees with its files, and remember that it does"
    )
    add_no_compile(parser)


def add_paths(parser: argparse.ArgumentParser, *names: str, **more: str) -> None:
    """A repeatable option for paths; bash expands `~` in `-r ~/FILE`, but not in `--requirements=~/FILE`."""
    parser.add_argument(*names, action="append", type=os.path.expanduser, **more)  # type: ignore[arg-type]


def add_requirements_files(parser: argparse.ArgumentParser) -> None:
    """Let a command read requirements files."""
    add_paths(parser, "-r", "--requirements", "--requirement", metavar="FILE", help="a requirements file: a path, a URL or - (repeatable)")


def add_shared_pool(parser: argparse.ArgumentParser) -> None:
    """Let a command add shared pools first."""
    add_paths(parser, "--shared-pool", metavar="DIR", help="`casfs pool add DIR` first, if it is not a shared pool yet (repeatable)")


_WITH_VALUE = (
    (("-i", "--index-url", "--default-index"), "--index-url", "URL", "the index to ask, in place of the public one"),
    (("--extra-index-url",), "--extra-index-url", "URL", "an index to ask too (repeatable)"),
    (("--index",), "--index", "URL", "the same, as uv has it: it may be NAME=URL"),
    (("-f", "--find-links"), "--find-links", "PLACE", "a directory or page with distributions (repeatable)"),
    (("--index-strategy",), "--index-strategy", "WAY", "how to choose between indexes (see uv)"),
    (("--keyring-provider",), "--keyring-provider", "WAY", "`subprocess`: ask the program `keyring` for passwords"),
    (("--trusted-host", "--allow-insecure-host"), "--allow-insecure-host", "HOST", "take this host's certificate as it is (repeatable)"),
    (("-c", "--constraint", "--constraints"), "--constraints", "FILE", "versions that are to be had if at all (repeatable)"),
    (("-P", "--upgrade-package"), "--upgrade-package", "NAME", "let this project get a newer version (repeatable)"),
    (("--no-binary",), "--no-binary", "NAME", "build this project from source (repeatable; `:all:` for all)"),
    (("--only-binary",), "--only-binary", "NAME", "build nothing of this project (repeatable; `:all:` for all)"),
)

_ALONE = (
    (("--no-index",), ("--no-index",), "ask no index"),
    (("--pre",), ("--prerelease", "allow"), "take pre-releases too"),
    (("-U", "--upgrade"), ("--upgrade",), "upgrade everything that you ask for, and its requirements"),
    (("--no-deps",), ("--no-deps",), "add nothing that is only needed by others"),
    (("--offline",), ("--offline",), "use no network"),
)


class _PassOn(argparse.Action):
    """Collects the words that uv is to get."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        words = [*self.const, values] if isinstance(values, str) else self.const
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or ()), *words])


def add_index_options(parser: argparse.ArgumentParser) -> None:
    """Let a command have them. What was typed is `uv`, a list of words."""
    group = parser.add_argument_group("where to look", "Options, variables and configuration files of uv and pip count as they do there.")
    for names, option, metavar, text in _WITH_VALUE:
        group.add_argument(*names, action=_PassOn, dest="uv", const=[option], metavar=metavar, help=text)
    for names, words, text in _ALONE:
        group.add_argument(*names, action=_PassOn, dest="uv", const=list(words), nargs=0, help=text)
    text = f"refuse a file that is larger, in bytes or with K, M or G (default: {MAX_WHEEL_SIZE >> 30}G)"
    group.add_argument("--max-wheel-size", type=parse_size, default=MAX_WHEEL_SIZE, metavar="SIZE", help=text)


def typed_options(arguments: argparse.Namespace) -> Sequence[str]:
    """What was typed, as uv wants it."""
    return arguments.uv or ()

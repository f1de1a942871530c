"""Options of pip and uv that say where to look for distributions: they are passed on to uv."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from casfs.cli.sizes import parse_size
from casfs.wheels.source import MAX_WHEEL_SIZE

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

"""Hints: the commands that a message names in backquotes, completed so that they can be copied: they say which store and which environment.

Who writes a message knows neither what was typed nor where else the user might mean; here is the one place that does.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex

DEFAULT_ENVIRONMENT = "default"

_HINT = re.compile(r"`casfs ([a-z]+)\b([^`]*)`")

_OF_AN_ENVIRONMENT = {"add", "sync", "lock", "adopt", "export", "compile", "remove", "rollback", "list", "generations", "show"}
_OF_AN_ENVIRONMENT |= {"diff", "absorb", "reset", "mount", "run"}
"""Commands that are about one environment."""

_about: dict[str, str] = {}
"""What the command that runs is about: `store` if it was typed, and `env`. A process runs one command."""


def environment_name(arguments: argparse.Namespace) -> str:
    """--env, which may be no empty name, else CASFS_ENV unless that is empty, else 'default'."""
    return arguments.env if arguments.env is not None else _usual_environment()


def _usual_environment() -> str:
    return os.environ.get("CASFS_ENV") or DEFAULT_ENVIRONMENT


def hint_as_typed(arguments: argparse.Namespace) -> None:
    """From here on, hints name the store that was typed, and the environment unless it is the one that a command means by itself."""
    _about.clear()
    if arguments.store:
        _about["store"] = arguments.store
    hint_at(environment_name(arguments))


def hint_at(environment: str) -> None:
    """From here on, messages are about this environment: the command finds it by other words than --env."""
    _about["env"] = environment


def complete_hints(text: str) -> str:
    """The text with the options that its hints need. A hint that names its store or environment itself keeps them."""
    return _HINT.sub(_complete, text) if "`casfs " in text else text


def _complete(hint: re.Match[str]) -> str:
    command, rest = hint.groups()
    store, environment = _about.get("store"), _about.get("env")
    before = f"--store {shlex.quote(store)} " if store else ""
    if rest == " --help":
        return hint[0]
    is_needed = command in _OF_AN_ENVIRONMENT and environment not in {None, _usual_environment()} and " --env " not in f"{rest} "
    after = f" --env {shlex.quote(environment or '')}" if is_needed else ""
    return f"`casfs {before}{command}{after}{rest}`"

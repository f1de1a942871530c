"""Poetry: the program that can read its own lock."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from casfs.errors import FetchFailed, LockRefused, reason_of
from casfs.lockfiles.lockfile import Choice
from casfs.resolve.build_log import in_lines, shorten


def export_poetry_lock(lock: str, choice: Choice, directory: str, environ: Mapping[str, str]) -> str:
    """Path of a lock file (PEP 751) for what a poetry.lock holds, by itself what `poetry install` would take of it.

    Raises LockRefused if Poetry is not there, or its project; FetchFailed if it fails, when it has said why.
    """
    program = shutil.which("poetry", path=environ.get("PATH"))
    if program is None:
        raise LockRefused(lock, "only Poetry can read it, with its plugin `export`, and there is no `poetry` on the PATH")
    made, project = f"{directory}/pylock.toml", os.path.dirname(os.path.abspath(lock))
    options = _choice_options(choice, _read_project(lock, f"{project}/pyproject.toml"))
    command = [program, "-C", project, "export", "-f", "pylock.toml", "-o", made, *options]
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        said = in_lines(done.stdout.decode("utf-8", "replace"))
        if any("export" in line and "not exist" in line for line in said):
            reason = "only Poetry can read it, and this one lacks its plugin `export`; `poetry self add poetry-plugin-export` brings that"
            raise LockRefused(lock, reason)
        raise FetchFailed("poetry", "failed for the reason above; nothing has changed", said=shorten(said, lambda: BytesIO(done.stdout)))
    return made


def _choice_options(choice: Choice, project: Mapping[str, Any]) -> list[str]:
    """How Poetry is told what is wanted; `export` has no groups by itself, unlike `install`."""
    poetry = _table(_table(project, "tool"), "poetry")
    extras = (*_table(_table(project, "project"), "optional-dependencies"), *_table(poetry, "extras"))
    options = [f"--extras={one}" for one in choice.choose_extras(extras)]
    if choice.only_groups:
        return [*options, *(f"--only={one}" for one in choice.only_groups)]
    tables = _table(poetry, "group")
    offered = (*tables, *_table(project, "dependency-groups"), *(["dev"] if "dev-dependencies" in poetry else ()))
    default = [one for one in offered if not _table(tables, one).get("optional")]
    return [*options, *(f"--with={one}" for one in choice.choose_groups(offered, default))]


def _read_project(lock: str, path: str) -> Mapping[str, Any]:
    """The pyproject.toml that a lock belongs to. Raises LockRefused."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError, RecursionError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else f"is not TOML: {error}"
        raise LockRefused(lock, f"its project can't be read: {path}: {reason}") from None


def _table(tables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A table in a table; an empty one if there is none, and Poetry says so if something else is there."""
    found = tables.get(name)
    return found if isinstance(found, Mapping) else {}

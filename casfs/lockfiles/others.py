"""Files that people take for locks, and locks that nobody takes for one: what each is, and the command or the name that helps."""

from __future__ import annotations

import os
import re
import shlex

from casfs.errors import LockRefused

_REQUIREMENTS = "> requirements.txt` writes what `casfs sync` reads"
_CONDA = "is a list of conda's packages, which casfs can't have; `casfs add` takes those of a package index by name"
_PIPENV = f"is Pipenv's; `pipenv requirements {_REQUIREMENTS}"
_PROJECT = "lists what a project requires, but locks nothing; {}`casfs add -e {}` adds the project with its requirements"

_PYLOCK = re.compile(r"pylock\.([^.]+\.)?toml")  # PEP 751
_NAMES = "pylock.toml or pylock.NAME.toml, with no dot in NAME"

_BY_NAME = {
    "pyproject.toml": _PROJECT.format("`uv lock` makes a uv.lock of it, and ", "{}"),
    "setup.py": _PROJECT.format("", "{}"),
    "setup.cfg": _PROJECT.format("", "{}"),
    "Pipfile": _PIPENV,
    "Pipfile.lock": _PIPENV,
    "pdm.lock": f"is PDM's; `pdm export {_REQUIREMENTS}",
    **dict.fromkeys(("environment.yml", "environment.yaml", "conda-lock.yml", "pixi.toml", "pixi.lock"), _CONDA),
}


def refuse_other_files(path: str) -> None:
    """Raises LockRefused, with what to do instead, for a file whose name says that it is no lock that casfs reads, and no requirements."""
    if path.endswith(".whl"):
        raise LockRefused(path, "is a wheel; `casfs add` adds it")
    name = os.path.basename(path)
    if name.endswith(".toml") and name not in _BY_NAME and not _PYLOCK.fullmatch(name):
        raise LockRefused(path, f"has a name that no lock file has; a lock of PEP 751 is named {_NAMES}")
    if reason := _BY_NAME.get(name):
        raise LockRefused(path, reason.format(os.path.dirname(path) or "."))


def refuse_other_name(path: str) -> None:
    """Raises LockRefused, with a name that will do, for one by which no tool knows a lock (PEP 751)."""
    directory, name = os.path.split(path)
    if _PYLOCK.fullmatch(name):
        return
    words = [word for word in name.split(".") if word not in {"", "pylock", "toml"}]
    better = os.path.join(directory, f"pylock.{'-'.join(words)}.toml" if words else "pylock.toml")
    raise LockRefused(path, f"pip and uv know a lock by its name, which is {_NAMES}: `casfs lock --output {shlex.quote(better)}`")


def refuse_locks_of_other_names(path: str) -> None:
    """Raises LockRefused for a file that is a table of TOML, and so no requirements, whatever its name."""
    import tomllib

    try:
        with open(path, "rb") as file:
            is_table = bool(tomllib.load(file))
    except (ValueError, RecursionError):
        return
    if is_table:
        raise LockRefused(path, f"holds no requirements, and a lock is known by its name: uv.lock, poetry.lock, {_NAMES}")

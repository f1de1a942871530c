"""Files that people take for locks: what each of them is, and which command makes of it what can be synced."""

from __future__ import annotations

import os
import re

from casfs.errors import LockRefused

_REQUIREMENTS = "> requirements.txt` writes what `casfs sync` reads"
_CONDA = "is a list of conda's packages, which casfs can't have; `casfs add` takes those of a package index by name"
_PIPENV = f"is Pipenv's; `pipenv requirements {_REQUIREMENTS}"
_PROJECT = "says what a project asks for, and locks nothing; {}`casfs add -e {}` adds the project with all that it needs"

_PYLOCK = re.compile(r"pylock\.([^.]+\.)?toml")  # PEP 751

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
        raise LockRefused(path, "has a name that no lock file has; a lock of PEP 751 is named pylock.toml or pylock.NAME.toml")
    if reason := _BY_NAME.get(name):
        raise LockRefused(path, reason.format(os.path.dirname(path) or "."))

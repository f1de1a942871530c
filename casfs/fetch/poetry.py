"""Poetry: the program that can read its own lock."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping

from casfs.errors import FetchFailed, LockRefused
from casfs.venv.locks.locks import Choice


def export_poetry_lock(lock: str, choice: Choice, directory: str, environ: Mapping[str, str]) -> str:
    """Path of a lock file (PEP 751) for what a poetry.lock holds. Raises LockRefused if Poetry is not there, FetchFailed if it fails."""
    program = shutil.which("poetry", path=environ.get("PATH"))
    if program is None:
        raise LockRefused(lock, "only Poetry can read it, with its plugin `export`, and there is no `poetry` on the PATH")
    made = f"{directory}/pylock.toml"
    optional = [*(f"--extras={one}" for one in choice.extras), *(f"--with={one}" for one in choice.groups)]
    command = [program, "-C", os.path.dirname(os.path.abspath(lock)), "export", "-f", "pylock.toml", "-o", made, *optional]
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, stdout=2, check=False)
    if done.returncode:
        raise FetchFailed("poetry", f"ended with {done.returncode}, and nothing has changed")
    return made

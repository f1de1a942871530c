"""Poetry: the program that can read its own lock."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from io import BytesIO

from casfs.errors import FetchFailed, LockRefused
from casfs.fetch.said import in_lines, shorten
from casfs.venv.locks.locks import Choice


def export_poetry_lock(lock: str, choice: Choice, directory: str, environ: Mapping[str, str]) -> str:
    """Path of a lock file (PEP 751) for what a poetry.lock holds. Raises LockRefused if Poetry is not there, FetchFailed if it fails."""
    program = shutil.which("poetry", path=environ.get("PATH"))
    if program is None:
        raise LockRefused(lock, "only Poetry can read it, with its plugin `export`, and there is no `poetry` on the PATH")
    made = f"{directory}/pylock.toml"
    optional = [*(f"--extras={one}" for one in choice.extras), *(f"--with={one}" for one in choice.groups)]
    command = [program, "-C", os.path.dirname(os.path.abspath(lock)), "export", "-f", "pylock.toml", "-o", made, *optional]
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        said = in_lines(done.stdout.decode("utf-8", "replace"))
        if any("export" in line and "not exist" in line for line in said):
            reason = "only Poetry can read it, and this one lacks its plugin `export`; `poetry self add poetry-plugin-export` brings that"
            raise LockRefused(lock, reason)
        raise FetchFailed("poetry", "failed for the reason above; nothing has changed", said=shorten(said, lambda: BytesIO(done.stdout)))
    return made

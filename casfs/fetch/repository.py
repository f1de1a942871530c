"""Repositories: the files of one commit, by git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from casfs.errors import FetchFailed, reason_of
from casfs.venv.origins import parse_repository


def check_out(place: str, directory: str, environ: Mapping[str, str]) -> str:
    """Path of a working tree of `git+URL@COMMIT[#subdirectory=PATH]`, below a new directory. Raises FetchFailed, when git has said why."""
    one = parse_repository(place)
    url = one.url
    if one.kind != "git":
        raise FetchFailed(place, "is in no git repository, and casfs knows no other kind")
    os.mkdir(directory, 0o700)
    quiet = {**environ, "GIT_TERMINAL_PROMPT": environ.get("GIT_TERMINAL_PROMPT", "0")}
    _run(["git", "clone", "--quiet", "--no-checkout", "--", url, directory], quiet, url)
    _run(["git", "-C", directory, "checkout", "--quiet", "--detach", one.commit, "--"], quiet, url)
    _run(["git", "-C", directory, "submodule", "--quiet", "update", "--init", "--recursive"], quiet, url)
    path = os.path.realpath(os.path.join(directory, one.subdirectory))
    if os.path.commonpath([path, os.path.realpath(directory)]) != os.path.realpath(directory):
        raise FetchFailed(url, f"has no subdirectory {one.subdirectory!r}")
    return path


def _run(command: list[str], environ: Mapping[str, str], url: str) -> None:
    try:
        done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise FetchFailed(url, f"needs git, which can't be run: {reason_of(error)}") from None
    if done.returncode:
        raise FetchFailed(url, f"can't be checked out: git ended with {done.returncode}")

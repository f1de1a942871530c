"""Repositories: the files of one commit, by git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from casfs.errors import FetchFailed, reason_of
from casfs.resolve.access import split_login
from casfs.resolve.limits import Limits
from casfs.venv.origins import parse_repository


def check_out(place: str, directory: str, environ: Mapping[str, str], limits: Limits) -> str:
    """Path of a working tree of `git+URL@COMMIT[#subdirectory=PATH]`, below a new directory. Raises FetchFailed, when git has said why."""
    repository = parse_repository(place)
    url, (shown, _) = repository.url, split_login(repository.url)
    if repository.kind != "git":
        raise FetchFailed(split_login(place)[0], "is not in a git repository; casfs knows no other kind")
    os.mkdir(directory, 0o700)
    speed = {"GIT_HTTP_LOW_SPEED_LIMIT": f"{limits.least_speed}", "GIT_HTTP_LOW_SPEED_TIME": f"{limits.patience_s:.0f}"}
    quiet = {"GIT_TERMINAL_PROMPT": "0", **speed, **environ}
    _run(["git", "clone", "--quiet", "--no-checkout", "--", url, directory], quiet, shown)
    _run(["git", "-C", directory, "checkout", "--quiet", "--detach", repository.commit, "--"], quiet, shown)
    if (head := _read_head(directory, quiet)) != repository.commit:
        raise FetchFailed(shown, f"has the commit {head} checked out and should have {repository.commit!r}")
    _run(["git", "-C", directory, "submodule", "--quiet", "update", "--init", "--recursive"], quiet, shown)
    path = os.path.realpath(os.path.join(directory, repository.subdirectory))
    if os.path.commonpath([path, os.path.realpath(directory)]) != os.path.realpath(directory):
        raise FetchFailed(shown, f"has no subdirectory {repository.subdirectory!r}")
    return path


def _read_head(directory: str, environ: Mapping[str, str]) -> str:
    """The commit of a working tree; empty if git says none."""
    command = ["git", "-C", directory, "rev-parse", "--verify", "HEAD"]
    return subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True).stdout.strip()


def _run(command: list[str], environ: Mapping[str, str], shown: str) -> None:
    try:
        done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise FetchFailed(shown, f"needs git, which can't be run: {reason_of(error)}") from None
    if done.returncode:
        raise FetchFailed(shown, f"can't be checked out: git ended with {done.returncode}")

"""The path by which an environment calls its interpreter: with the links that stay when a patch release goes.

`/opt/current -> /opt/3.11.7`, uv's `cpython-3.11-linux-x86_64-gnu` and `/run/current-system/sw/bin/python3.11` of Nix
are there so that what refers to them goes on after an upgrade; venv and uv keep them. A name beside the executable is no such link:
`python3 -> python3.11` means another release one day, so the executable's own name is taken.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

_SAYS_RELEASE = re.compile(r"python3\.\d+t?")


def can_be_base(link: str) -> bool:
    """Whether an environment that calls its interpreter by this link works: not every Python finds its library from there."""
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory(prefix="casfs-") as directory:
        with open(f"{directory}/pyvenv.cfg", "w", encoding="utf-8") as file:
            file.write(f"home = {os.path.dirname(link)}\n")
        os.mkdir(f"{directory}/bin")
        os.symlink(link, f"{directory}/bin/python")
        try:
            done = subprocess.run(
                [f"{directory}/bin/python", "-I", "-S", "-c", ""], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
    return done.returncode == 0 and not done.stderr  # one that has found half of its library says so


def stable_path(path: str, real: str, *, is_base: Callable[[str], bool] = can_be_base) -> str:
    """The path of the executable `real` that keeps most of the links of the absolute path `path`, which leads to it.

    A link in a virtual environment is followed: it goes with the environment. `is_base` says of a link to the executable itself whether
    environments may call it so.
    """
    while os.path.realpath(path) == real:
        if _is_same_installation(path, real):
            return os.path.join(os.path.dirname(path), os.path.basename(real))
        if _SAYS_RELEASE.fullmatch(os.path.basename(path)) and not _is_in_environment(path) and is_base(path):
            return path
        if not os.path.islink(path):
            break
        path = _follow(path)
    return real


def _follow(link: str) -> str:
    """Where a link leads, as a path that keeps the links which that has."""
    directory, target = os.path.dirname(link), os.readlink(link)
    while target.startswith("../"):  # above a link there is another directory than its path says
        directory, target = os.path.dirname(os.path.realpath(directory)), target.removeprefix("../")
    return os.path.join(directory, target)


def _is_same_installation(path: str, real: str) -> bool:
    """Whether a path leads to the executable's directory by links of directories alone: Python finds its library beside it then."""
    for _ in range(2):
        path, real = os.path.dirname(path), os.path.dirname(real)
        if os.path.realpath(path) != real:
            return False
    return True


def _is_in_environment(path: str) -> bool:
    directory = os.path.dirname(path)
    return any(os.path.lexists(os.path.join(one, "pyvenv.cfg")) for one in (directory, os.path.dirname(directory)))

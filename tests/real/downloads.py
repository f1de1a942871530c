"""Wheels and tools from the package index, kept for the next time in ${XDG_CACHE_HOME:-~/.cache}/casfs-tests.

What is there is not asked for again, so a second run needs no network. The lock is for test runs side by side.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from tests.mounted.harness import clean_environ
from tests.real.wheels import TOOLS

_DOWNLOAD_LIMIT_S = 600  # 240 MB


@dataclass(frozen=True, slots=True)
class Tools:
    """pip and uv in an environment of their own, which work on other environments."""

    directory: Path

    def pip(self, *words: str | Path) -> list[str]:
        return [str(self.directory / "bin/python"), "-m", "pip", "--disable-pip-version-check", *map(str, words)]

    def uv(self, *words: str | Path) -> list[str]:
        return [str(self.directory / "bin/uv"), "--no-progress", *map(str, words)]


def cache_directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "casfs-tests"


@contextmanager
def locked_cache() -> Iterator[Path]:
    """The cache, for us alone."""
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache


def provide_tools(requirements: Sequence[str] = TOOLS) -> Tools:
    """The pinned installers, or other tools, in an environment of their own."""
    with locked_cache() as cache:
        directory = cache / "tools" / "-".join([sys.implementation.cache_tag, *requirements])
        tools = Tools(directory)
        if not _works(tools, requirements):
            shutil.rmtree(directory, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(directory)])
            _run(tools.pip("install", "--quiet", *requirements))
        return tools


def _works(tools: Tools, requirements: Sequence[str]) -> bool:
    """Whether they are as pinned; a cache may outlive the interpreter that it was made with, or be half made."""
    try:
        found = subprocess.run(tools.pip("freeze", "--all"), capture_output=True, text=True, check=True, env=clean_environ()).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    return set(requirements) <= set(found.splitlines())


def provide_wheels(tools: Tools, interpreter: str, requirements: Iterable[str]) -> dict[str, Path]:
    """The wheel for each requirement that fits an interpreter."""
    requirements = list(dict.fromkeys(requirements))
    with locked_cache() as cache:
        directory = cache / "wheels" / _cache_tag(interpreter)
        directory.mkdir(parents=True, exist_ok=True)
        if missing := [one for one in requirements if one not in _find(directory, requirements)]:
            _download(tools, interpreter, missing, directory)
        found = _find(directory, requirements)
    assert found.keys() == set(requirements), f"pip did not download {sorted(set(requirements) - found.keys())}"
    return {one: found[one] for one in requirements}


def _cache_tag(interpreter: str) -> str:
    source = "import sys, sysconfig; print(sys.implementation.cache_tag, sysconfig.get_platform(), sep='-')"
    return _run([interpreter, "-c", source]).strip()


def _find(directory: Path, requirements: Iterable[str]) -> dict[str, Path]:
    wheels = {parse_wheel_filename(path.name)[:2]: path for path in directory.glob("*.whl")}
    by_version = {(name, str(version)): path for (name, version), path in wheels.items()}
    wanted = {one: Requirement(one) for one in requirements}
    keys = {one: (canonicalize_name(what.name), str(what.specifier).removeprefix("==")) for one, what in wanted.items()}
    return {one: by_version[key] for one, key in keys.items() if key in by_version}


def _download(tools: Tools, interpreter: str, requirements: Iterable[str], directory: Path) -> None:
    """One pip for all; two versions of one project are asked for one after the other. A wheel appears in the cache whole."""
    rounds: list[dict[str, str]] = []
    for one in requirements:
        project = canonicalize_name(Requirement(one).name)
        free = next((names for names in rounds if project not in names), None)
        if free is None:
            rounds.append(free := {})
        free[project] = one
    with tempfile.TemporaryDirectory(dir=directory, prefix="partial-") as partial:
        for names in rounds:
            options = ("--quiet", "--no-deps", "--only-binary", ":all:", "--dest", partial)
            _run(tools.pip("--python", interpreter, "download", *options, *names.values()))
        for path in Path(partial).glob("*.whl"):
            path.replace(directory / path.name)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_DOWNLOAD_LIMIT_S, env=clean_environ())
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout

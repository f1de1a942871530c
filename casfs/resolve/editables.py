"""Editable projects: a wheel that leads to a project's directory in place of its files (PEP 660), built as pip builds it.

The backend that pyproject.toml names (PEP 517) runs in a virtual environment of its own, which uv makes and fills. What it says is kept in
a file and told only if it fails.
"""

from __future__ import annotations

import os
import subprocess
import tomllib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from casfs.errors import BuildFailed, FetchFailed, reason_of
from casfs.resolve.build_log import read_said
from casfs.resolve.uv import Uv

_USUAL_SYSTEM = {"requires": ["setuptools>=64", "wheel"], "build-backend": "setuptools.build_meta:__legacy__"}
"""For a project that says nothing (PEP 517); setuptools can build editable wheels from 64 on."""

_NOT_PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class _System:
    """What pyproject.toml says of the build."""

    requires: Sequence[str]
    backend: str
    path: Sequence[str]


def build_editable(uv: Uv, python: str, project: str, directory: str) -> str:
    """Path of the editable wheel of a project, below a new directory. Raises FetchFailed, BuildFailed; both name the project."""
    home, made = f"{directory}/environment", f"{directory}/wheel"
    for path in (directory, made):
        os.mkdir(path, 0o700)
    system = _read_system(project)
    backend = _Backend(project, system, home, f"{directory}/said", uv.environ)
    try:
        uv.make_environment(python, home)
        uv.install(home, system.requires)
        uv.install(home, backend.call("get_requires_for_build_editable"))
    except BuildFailed:
        raise
    except FetchFailed as error:
        raise FetchFailed(
            project, f"its build requirements can't be found: {error.subject} {'; '.join(error.reasons)}", said=error.said
        ) from None
    name = backend.call("build_editable", made)
    if not _is_file_in(made, name) or not name.endswith(".whl"):
        raise FetchFailed(project, f"its build backend {system.backend} said that {name!r} is the wheel, but there is no such file")
    return f"{made}/{name}"


def _read_system(project: str) -> _System:
    """Raises FetchFailed."""
    table: Any = _USUAL_SYSTEM
    try:
        with open(f"{project}/pyproject.toml", "rb") as file:
            table = tomllib.load(file).get("build-system", _USUAL_SYSTEM)
    except FileNotFoundError:
        if not os.path.isdir(project):
            raise FetchFailed(project, "is not a directory") from None
        if not os.path.isfile(f"{project}/setup.py"):
            raise FetchFailed(project, "has neither pyproject.toml nor setup.py, so there is nothing to build") from None
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else f"is not TOML: {error}"
        raise FetchFailed(f"{project}/pyproject.toml", reason) from None
    table = table if isinstance(table, dict) else {"requires": None}
    requires, path = (table.get(key, []) for key in ("requires", "backend-path"))
    backend = table.get("build-backend", _USUAL_SYSTEM["build-backend"])
    if not isinstance(backend, str) or not _are_words(requires) or not _are_words(path):
        raise FetchFailed(f"{project}/pyproject.toml", "its table build-system is not as PEP 518 and 517 ask")
    return _System(requires, backend, path)


def _are_words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _is_file_in(directory: str, name: object) -> bool:
    return isinstance(name, str) and os.path.basename(name) == name and os.path.isfile(f"{directory}/{name}")


@dataclass(frozen=True, slots=True)
class _Backend:
    """A build backend, in its environment."""

    project: str
    system: _System
    home: str
    said: str  # path of the file that gets what it says
    environ: Mapping[str, str]

    def call(self, hook: str, *arguments: str) -> Any:
        """What a hook returns. Raises BuildFailed."""
        import pyproject_hooks

        try:
            caller = pyproject_hooks.BuildBackendHookCaller(
                self.project, self.system.backend, self.system.path or None, self._run, f"{self.home}/bin/python"
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", pyproject_hooks.BuildBackendWarning)
                call: Callable[..., Any] = getattr(caller, hook)
                return call(*arguments)
        except pyproject_hooks.HookMissing:
            raise BuildFailed(self.project, f"its build backend {self.system.backend} makes no editable wheels (PEP 660)") from None
        except pyproject_hooks.BackendUnavailable as error:
            raise self._failure(f"its build backend {self.system.backend} can't be loaded", error.traceback) from None
        except subprocess.CalledProcessError as error:
            raise self._failure(f"its build backend {self.system.backend} {_ending(error.returncode)} in {hook}") from None
        except (OSError, ValueError) as error:
            raise self._failure(f"its build backend {self.system.backend} gave no answer to {hook}: {error}") from None

    def _run(self, cmd: Sequence[str], cwd: str | None = None, extra_environ: Mapping[str, str] | None = None) -> None:
        environ = {name: value for name, value in self.environ.items() if name not in _NOT_PASSED_ON}
        environ |= {"PATH": f"{self.home}/bin:{environ.get('PATH', os.defpath)}", "VIRTUAL_ENV": self.home, "PYTHONNOUSERSITE": "1"}
        environ |= extra_environ or {}
        with open(self.said, "wb") as said:
            subprocess.run(cmd, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=True)

    def _failure(self, reason: str, traceback: str = "") -> BuildFailed:
        """With the last line that it said, which is what an exception is about, and what was before it."""
        lines = read_said(self.said, traceback)
        last = f": {lines[-1].strip()}" if lines else ""
        return BuildFailed(self.project, reason + last, said=tuple(lines))


def _ending(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with {code}"

"""Two environments with the same wheels: one made by venv and pip on a disk, one mounted by casfs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.mounted.harness import Casfs, clean_environ
from tests.python_versions import find_python
from tests.real.downloads import Tools, provide_wheels

_TIME_LIMIT_S = 240
"""A command that takes longer hangs."""


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, with ENVIRONMENT for the path of the environment that it was about."""

    code: int
    output: str
    errors: str


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment."""

    root: Path
    directory: str
    """"python3.11"."""

    @property
    def site_packages(self) -> Path:
        return self.root / "lib" / self.directory / "site-packages"

    def run(self, *command: str | Path, cwd: Path | None = None, **environ: str) -> Said:
        """Run a command beside the environment, or in `cwd`. It leaves no bytecode behind; `environ` is set for it."""
        environment = {**clean_environ(), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "100", **environ}
        words = list(map(str, command))
        cwd = cwd or self.root.parent
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_TIME_LIMIT_S, env=environment, cwd=cwd)
        return Said(done.returncode, self._without_root(done.stdout), self._without_root(done.stderr))

    def _without_root(self, text: str) -> str:
        return text.replace(str(self.root), "ENVIRONMENT").replace(str(self.root.parent), "PARENT")


@dataclass(frozen=True, slots=True)
class Pair:
    """What pip made, and what casfs shows."""

    native: Environment
    mounted: Environment
    wheels: dict[str, Path]

    def both(self, ask: Callable[[Environment], Said]) -> tuple[Said, Said]:
        """The same question to both."""
        return ask(self.native), ask(self.mounted)


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes pairs in a directory; the mounts end with `casfs`."""

    tools: Tools
    casfs: Casfs
    directory: Path
    _pairs: dict[str, Pair] = field(default_factory=dict)

    def make(self, name: str, version: str, requirements: Sequence[str], *more: Sequence[str]) -> Pair:
        """A pair for the Python of this version, made once. What stands in `more` is installed later, each in a step of its own."""
        if name not in self._pairs:
            self._pairs[name] = self._make(name, version, requirements, *more)
        return self._pairs[name]

    def _make(self, name: str, version: str, requirements: Sequence[str], *more: Sequence[str]) -> Pair:
        interpreter = find_python(version)
        steps = [requirements, *more]
        wheels = provide_wheels(self.tools, interpreter, (one for step in steps for one in step))
        native, mounted = self.install(name, version, [[wheels[one] for one in step] for step in steps])
        return Pair(native, mounted, wheels)

    def install(self, name: str, version: str, steps: Sequence[Sequence[Path]]) -> tuple[Environment, Environment]:
        """Wheels installed by pip, and by casfs into an environment of this name, which is mounted read-only: many tests look at one."""
        interpreter = find_python(version)
        native, mounted = (Environment(self.directory / name / kind / ".venv", f"python{version}") for kind in ("native", "mounted"))
        native.root.parent.mkdir(parents=True)
        mounted.root.parent.mkdir()
        self._make_native(native, interpreter, steps)
        for wheels in steps:
            self._casfs(name, "add", "--no-compile", "--python", interpreter, *wheels)
        self._casfs(name, "mount", "--read-only", mounted.root)
        return native, mounted

    def _make_native(self, native: Environment, interpreter: str, steps: Sequence[Sequence[Path]]) -> None:
        options = ("--quiet", "--no-index", "--no-deps", "--no-compile")
        commands = [[interpreter, "-m", "venv", "--without-pip", str(native.root)]]
        commands += [self.tools.pip("--python", native.root, "install", *options, *wheels) for wheels in steps]
        for command in commands:
            said = native.run(*command)
            assert said.code == 0, f"{' '.join(command)} ended with {said}"

    def _casfs(self, name: str, command: str, *words: str | Path) -> None:
        self.casfs.run("--env", name, command, *words, timeout=_TIME_LIMIT_S)


def without_numbers(text: str) -> str:
    """Text without durations and sizes that differ from run to run."""
    return re.sub(r"\d+(\.\d+)?(ms|s| seconds?)\b", "N", text)

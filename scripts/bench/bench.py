"""What every measure is given, and the environments that it makes of wheels with casfs, uv and pip."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.processes import Usage, run
from scripts.bench.stores import Store
from scripts.bench.synthetic import make_wheels
from scripts.bench.tools import Tools, clean_environment, download

_PRIMER = "bench-primer"


@dataclass(frozen=True, slots=True)
class Bench:
    """One run: where it writes, how often it measures, and with what."""

    folder: Path
    cache: Path
    tools: Tools
    rounds: int
    is_quick: bool
    is_large: bool

    @property
    def env(self) -> dict[str, str]:
        """The variables of a measured program."""
        return clean_environment(self.folder)

    def wheels(self, name: str) -> list[str]:
        """Paths of a set's wheels, which are in the page cache."""
        wheels = download(self.tools, self.cache, name)
        read_all([Path(wheel) for wheel in wheels])
        return wheels

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A folder that is there for the length of a block."""
        path = self.folder / name
        path.mkdir()
        yield path
        shutil.rmtree(path)

    def new_store(self, path: Path) -> Store:
        """A store that knows the interpreter and one tiny wheel: what is measured is a wheel, not a first start."""
        store = Store(self.tools, path, self.env)
        made = path.parent / f"{path.name}-primer"
        made.mkdir()
        store.add(_PRIMER, make_wheels(made, 1))
        shutil.rmtree(made)
        return store

    def new_venv(self, path: Path) -> Path:
        """An empty environment, made by uv."""
        run([self.tools.uv, "venv", "--quiet", "--python", self.tools.python, str(path)], self.env)
        return path

    def new_pip_venv(self, path: Path, template: Path) -> Path:
        """An environment that holds pip and its bytecode, copied from `template`, which is made if it is absent."""
        if not template.exists():
            self.new_venv(template)
            peers = site_packages(Path(self.tools.peer_python).parents[1])
            for found in peers.glob("pip*"):
                shutil.copytree(found, site_packages(template) / found.name)
        shutil.copytree(template, path, symlinks=True)
        return path

    def uv_install(self, venv: Path, wheels: Sequence[str], cache: Path, link_mode: str) -> Usage:
        """uv pip install"""
        command = [self.tools.uv, "pip", "install", "--quiet", "--python", str(venv / "bin/python"), "--cache-dir", str(cache)]
        return run([*command, "--link-mode", link_mode, "--no-deps", *wheels], self.env)

    def pip_install(self, venv: Path, wheels: Sequence[str]) -> Usage:
        """pip install"""
        command = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", *wheels]
        return run(command, self.env)

    def native(self, folder: Path, wheels: Sequence[str]) -> Path:
        """An environment of plain files without bytecode: the limit."""
        venv = self.new_venv(folder / "native")
        self.uv_install(venv, wheels, folder / "native-cache", "copy")
        shutil.rmtree(folder / "native-cache")
        return venv


def site_packages(environment: Path) -> Path:
    """Where an environment has its packages."""
    return next((environment / "lib").glob("python3.*")) / "site-packages"


def read_all(tops: Sequence[Path]) -> None:
    """Bring files, and all files below folders, into the page cache."""
    buffer = bytearray(1 << 20)
    for top in tops:
        for path in [top] if top.is_file() else top.rglob("*"):
            if path.is_file() and not path.is_symlink():
                with path.open("rb", buffering=0) as file:
                    while file.readinto(buffer):
                        pass


def settle() -> None:
    """Write back what contenders before left behind, so that nobody's fsync pays for another's files."""
    os.sync()

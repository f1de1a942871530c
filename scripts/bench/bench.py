"""What every measure is given, and the environments that it makes of wheels with casfs, uv and pip."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.bench.processes import Usage, run
from scripts.bench.rounds import Pace, Rounds, Turn, take_turns
from scripts.bench.rubbish import put_away
from scripts.bench.stores import Store
from scripts.bench.synthetic import make_wheels
from scripts.bench.tools import Tools, clean_environment, download
from scripts.bench.ways import DEFAULT, WAYS, Way

PRIMER = "bench-primer"
"""The environment that every store has."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One run: where it writes, how often it measures, and with what."""

    folder: Path
    cache: Path
    tools: Tools
    pace: Pace
    is_quick: bool
    is_large: bool

    @property
    def env(self) -> dict[str, str]:
        """The variables of a measured program."""
        return clean_environment(self.folder)

    def take_turns(self, turns: Mapping[str, Turn], allowed_s: float, least: int | None = None) -> Rounds:
        """As many rounds as the run's pace says; a full run allows so many seconds for them. `least`: rather than the pace's."""
        pace = self.pace if least is None else replace(self.pace, least=min(least, self.pace.least))
        return take_turns(pace, turns, allowed_s)

    def take_once(self, turns: Mapping[str, Turn]) -> Rounds:
        """One round: for what is the same each time."""
        return take_turns(Pace(1, 1), turns)

    def settle(self) -> None:
        """Write back what contenders before left behind, so that nobody's fsync pays for another's files."""
        os.sync()

    def put_away(self, path: Path) -> None:
        """Empty what a contender has left, and move it out of the way of the next one; it is removed when the run ends."""
        put_away(path, self.folder / "rubbish")

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
        self.put_away(path)

    def new_store(self, path: Path) -> Store:
        """A store that knows the interpreter and one tiny wheel: what is measured is a wheel, not a first start."""
        store = Store(self.tools, path, self.env)
        made = path.parent / f"{path.name}-primer"
        made.mkdir()
        store.add(PRIMER, make_wheels(made, 1))
        self.put_away(made)
        return store

    def uv(self, *words: str) -> Usage:
        """Run uv."""
        return run([self.tools.uv, "--quiet", *words], self.env)

    def new_venv(self, path: Path) -> Path:
        """An empty environment, made by uv."""
        self.uv("venv", "--python", self.tools.python, str(path))
        return path

    def uv_install(self, venv: Path, wheels: Sequence[str], cache: Path, link_mode: str, *words: str) -> Usage:
        """uv pip install"""
        command = ["pip", "install", "--python", str(venv / "bin/python"), "--cache-dir", str(cache), "--link-mode", link_mode, "--no-deps"]
        return self.uv(*command, *words, *wheels)

    def pip_install(self, venv: Path, wheels: Sequence[str], *words: str) -> Usage:
        """pip install, by a pip outside of the environment, which needs none of its own then"""
        command = [self.tools.peer_python, "-m", "pip", "--python", str(venv / "bin/python"), "install", "--quiet", "--no-deps"]
        return run([*command, *words, *wheels], self.env)

    def native(self, name: str) -> Path:
        """A set as plain files, without bytecode: the limit. In the page cache; made once for the run, so leave it as it is."""
        path = self.prepared / f"native-{name}"
        if not path.exists():
            self.new_venv(path)
            self.uv_install(path, self.wheels(name), self.prepared / "cache", "copy")
            self.put_away(self.prepared / "cache")
        read_all([path])
        return path

    def store(self, name: str) -> Store:
        """A store that has a set's wheels in the environment of its name, without bytecode. In the page cache; made once for the run."""
        path = self.prepared / f"store-{name}"
        if path.exists():
            store = Store(self.tools, path, self.env)
        else:
            store = self.new_store(path)
            store.add(name, self.wheels(name))
        read_all([path])
        return store

    def ways(self) -> list[Way]:
        """Those that are possible here for environments that are not very large; tried once for the run."""
        answer = self.prepared / "ways"
        if not answer.exists():
            found = self.new_store(self.prepared / "store-of-ways").ways(PRIMER, self.prepared / "mount-of-ways")
            answer.write_text("\n".join(way.name for way in found), encoding="utf-8")
        names = answer.read_text(encoding="utf-8").splitlines()
        return [way for way in (*WAYS, DEFAULT) if way.name in names]

    @property
    def prepared(self) -> Path:
        """What measures share, until the run ends."""
        path = self.folder / "prepared"
        path.mkdir(exist_ok=True)
        return path


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

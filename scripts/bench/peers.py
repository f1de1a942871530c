"""Peers: the ways in which people get an environment of wheels that their host knows, each at its best; and casfs as one of them.

Each has a folder of its own, in which it keeps what is common to its environments: pool, cache or store.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from scripts.bench.bench import Bench, site_packages
from scripts.bench.processes import CommandFailed, run
from scripts.bench.stores import Store, detach_below
from scripts.bench.synthetic import make_wheels
from scripts.bench.tools import say

_FARM = str(Path(__file__).with_name("farm.py"))


class Peer(Protocol):
    """One way. `learn` comes first; whoever calls `make` calls `leave`, and removes the path then."""

    @property
    def top(self) -> Path:
        """The folder that has everything."""
        ...

    def learn(self, wheels: Sequence[str]) -> None:
        """What a host does once."""
        ...

    def make(self, path: Path) -> float:
        """Seconds from nothing to an environment at a path that is not there."""
        ...

    def environment(self, path: Path) -> Path:
        """Where it has its bin/python."""
        ...

    def leave(self, path: Path) -> None:
        """End what serves it."""
        ...


@dataclass(slots=True)
class _Plain:
    """An environment of files."""

    bench: Bench
    top: Path
    wheels: Sequence[str] = ()

    def learn(self, wheels: Sequence[str]) -> None:
        self.wheels = wheels

    def environment(self, path: Path) -> Path:
        return path

    def leave(self, path: Path) -> None:
        """Nothing serves it."""

    def make(self, path: Path) -> float:
        raise NotImplementedError


@dataclass(slots=True)
class Casfs(_Plain):
    """casfs add, and casfs mount."""

    store: Store = field(init=False)

    def learn(self, wheels: Sequence[str]) -> None:
        self.wheels = wheels
        self.store = self.bench.new_store(self.top / "store")
        self.store.add_by_default("first", wheels)

    def make(self, path: Path) -> float:
        added = self.store.add_by_default(path.name, self.wheels)
        return added.seconds + self.store.mount(path.name, path).seconds

    def leave(self, path: Path) -> None:
        self.store.umount(self.store.find(path))


@dataclass(slots=True)
class Uv(_Plain):
    """uv venv, and uv pip install from a warm cache."""

    link_mode: str = "hardlink"
    words: tuple[str, ...] = ()

    def learn(self, wheels: Sequence[str]) -> None:
        self.wheels = wheels
        self.bench.uv_install(self.bench.new_venv(self.top / "first"), wheels, self.top / "cache", self.link_mode)

    def make(self, path: Path) -> float:
        made = self.bench.uv("venv", "--python", self.bench.tools.python, str(path)).seconds
        return made + self.bench.uv_install(path, self.wheels, self.top / "cache", self.link_mode, *self.words).seconds


@dataclass(slots=True)
class Pip(_Plain):
    """python -m venv --without-pip, and pip --python: it has no cache of local wheels, and compiles by default."""

    words: tuple[str, ...] = ()

    def make(self, path: Path) -> float:
        made = run([self.bench.tools.python, "-m", "venv", "--without-pip", str(path)], self.bench.env).seconds
        return made + self.bench.pip_install(path, self.wheels, *self.words).seconds


@dataclass(slots=True)
class Farm(_Plain):
    """uv venv, and symbolic links into a pool of unpacked wheels."""

    def learn(self, wheels: Sequence[str]) -> None:
        (self.top / "pool").mkdir()
        self._farm("unpack", *wheels)

    def make(self, path: Path) -> float:
        made = self.bench.uv("venv", "--python", self.bench.tools.python, str(path)).seconds
        return made + self._farm("link", str(site_packages(path)))

    def _farm(self, kind: str, *words: str) -> float:
        return run([sys.executable, "-I", "-S", _FARM, kind, str(self.top / "pool"), *words], self.bench.env).seconds


@dataclass(slots=True)
class Uvl(_Plain):
    """uv venv, and uv pip install under uvl-fuse, which moves the files to its store and mounts them, read-only."""

    def learn(self, wheels: Sequence[str]) -> None:
        self.wheels = wheels
        (self.top / "home").mkdir()
        self._uvl(self.top, "--fuse", "uv", "--mnt", ".venv")
        self.make(self.top / "first")
        self.leave(self.top / "first")

    def make(self, path: Path) -> float:
        path.mkdir()
        made = self.bench.uv("venv", "--python", self.bench.tools.python, str(path / ".venv")).seconds
        words = ("uv", "pip", "install", "--quiet", "--no-deps", "--python", ".venv/bin/python", "--link-mode", "hardlink", *self.wheels)
        return made + self._uvl(path, *words)

    def environment(self, path: Path) -> Path:
        return path / ".venv"

    def leave(self, path: Path) -> None:
        self._uvl(path, "--unmnt", ".venv")

    def _uvl(self, folder: Path, *words: str) -> float:
        env = self.bench.env
        own = {"HOME": str(self.top / "home"), "PATH": f"{Path(self.bench.tools.uv).parent}:{env['PATH']}"}
        return run([self.bench.tools.uvl, *words], {**env, **own}, str(folder)).seconds


def make_peers(bench: Bench, folder: Path, names: Sequence[str] = ()) -> dict[str, Peer]:
    """Those of some names, or all, by name, casfs first; they know nothing yet."""

    def top(key: str) -> Path:
        (path := folder / key).mkdir(parents=True)
        return path

    found: dict[str, Callable[[], Peer]] = {
        "casfs": lambda: Casfs(bench, top("casfs")),
        "uv, hard links": lambda: Uv(bench, top("uv-hardlink")),
        "uv, hard links, --compile-bytecode": lambda: Uv(bench, top("uv-compile"), words=("--compile-bytecode",)),
        "uv, copies": lambda: Uv(bench, top("uv-copy"), link_mode="copy"),
        "symlink farm": lambda: Farm(bench, top("farm")),
        "pip": lambda: Pip(bench, top("pip")),
        "pip, --no-compile": lambda: Pip(bench, top("pip-no-compile"), words=("--no-compile",)),
        "uvl-fuse": lambda: Uvl(bench, top("uvl")),
    }
    if not uvl_works(bench):
        del found["uvl-fuse"]
    return {name: make() for name, make in found.items() if not names or name in names}


def uvl_works(bench: Bench) -> bool:
    """Whether uvl-fuse is installed, and shows what it should; if not, it is said."""
    if not bench.tools.uvl:
        return False
    with bench.scratch("uvl-probe") as probe:
        peer = Uvl(bench, probe)
        try:
            peer.learn(make_wheels(probe, 1))
            peer.make(probe / "second")
            run([str(peer.environment(probe / "second") / "bin/python"), "-c", "import bench_00000"], bench.env)
            peer.leave(probe / "second")
        except CommandFailed as failure:
            say(f"uvl-fuse is left out: {failure}")
            detach_below(probe)
            return False
    return True

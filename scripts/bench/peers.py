"""Peers: the ways in which people get an environment of wheels that their host knows, each at its best; and casfs as one of them.

Each has a folder of its own, in which it keeps what is common to its environments: pool, cache or store.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scripts.bench.bench import PRIMER, Bench, read_all, site_packages
from scripts.bench.processes import CommandFailed, run
from scripts.bench.stores import Store, detach_below
from scripts.bench.synthetic import make_wheels
from scripts.bench.tools import say

_FARM = str(Path(__file__).with_name("farm.py"))


class Peer(Protocol):
    """One way. `learn` comes first, once for a folder; whoever calls `make` calls `leave`, and removes the path then."""

    @property
    def top(self) -> Path:
        """The folder that has everything."""
        ...

    def learn(self) -> None:
        """What a host does once: get to know the wheels."""
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
    wheels: Sequence[str]

    def learn(self) -> None:
        """There is nothing to know."""

    def environment(self, path: Path) -> Path:
        return path

    def leave(self, path: Path) -> None:
        """Nothing serves it."""

    def make(self, path: Path) -> float:
        raise NotImplementedError


@dataclass(slots=True)
class Casfs(_Plain):
    """casfs add, and casfs mount."""

    @property
    def store(self) -> Store:
        return Store(self.bench.tools, self.top / "store", self.bench.env)

    def learn(self) -> None:
        self.bench.new_store(self.top / "store")
        self.store.add_by_default("first", self.wheels)

    def make(self, path: Path) -> float:
        added = self.store.add_by_default(path.name, self.wheels)
        return added.seconds + self.store.mount(path.name, path).seconds

    def leave(self, path: Path) -> None:
        self.store.umount(self.store.find(path))


@dataclass(slots=True)
class CasfsRunning(Casfs):
    """The same while the daemon runs, since another environment is mounted."""

    def make(self, path: Path) -> float:
        self.store.mount(PRIMER, path.with_name("another"))
        self.bench.settle()
        return super(CasfsRunning, self).make(path)

    def leave(self, path: Path) -> None:
        self.store.umount_all()


@dataclass(slots=True)
class Uv(_Plain):
    """uv venv, and uv pip install from a warm cache."""

    link_mode: str = "hardlink"
    words: tuple[str, ...] = ()

    def learn(self) -> None:
        if not (self.top / "cache").exists():
            venv = self.bench.new_venv(self.top / "first")
            self.bench.uv_install(venv, self.wheels, self.top / "cache", self.link_mode)
            self.bench.put_away(venv)

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

    def learn(self) -> None:
        (self.top / "pool").mkdir()
        self._farm("unpack", *self.wheels)

    def make(self, path: Path) -> float:
        made = self.bench.uv("venv", "--python", self.bench.tools.python, str(path)).seconds
        return made + self._farm("link", str(site_packages(path)))

    def _farm(self, kind: str, *words: str) -> float:
        return run([sys.executable, "-I", "-S", _FARM, kind, str(self.top / "pool"), *words], self.bench.env).seconds


@dataclass(slots=True)
class Uvl(_Plain):
    """uv venv, and uv pip install under uvl-fuse, which moves the files to its store and mounts them, read-only."""

    words: tuple[str, ...] = ()

    def learn(self) -> None:
        (self.top / "home").mkdir()
        self._uvl(self.top, "--fuse", "uv", "--mnt", ".venv")
        self.make(self.top / "first")
        self.leave(self.top / "first")
        self.bench.put_away(self.top / "first")

    def make(self, path: Path) -> float:
        path.mkdir()
        made = self.bench.uv("venv", "--python", self.bench.tools.python, str(path / ".venv")).seconds
        words = ("uv", "pip", "install", "--quiet", "--no-deps", "--python", ".venv/bin/python", "--link-mode", "hardlink")
        return made + self._uvl(path, *words, *self.words, *self.wheels)

    def environment(self, path: Path) -> Path:
        return path / ".venv"

    def leave(self, path: Path) -> None:
        self._uvl(path, "--unmnt", ".venv")

    def _uvl(self, folder: Path, *words: str) -> float:
        env = self.bench.env
        own = {"HOME": str(self.top / "home"), "PATH": f"{Path(self.bench.tools.uv).parent}:{env['PATH']}"}
        return run([self.bench.tools.uvl, *words], {**env, **own}, str(folder)).seconds


def make_peers(bench: Bench, folder: Path, wheels: Sequence[str], names: Sequence[str] = ()) -> dict[str, Peer]:
    """Those of some names, or all, by name, casfs first. They know the wheels, by what is in the folder."""
    kinds: dict[str, tuple[str, Callable[[Path], Peer]]] = {
        "casfs": ("casfs", lambda top: Casfs(bench, top, wheels)),
        "casfs, daemon runs": ("casfs", lambda top: CasfsRunning(bench, top, wheels)),
        "uv, hard links": ("uv", lambda top: Uv(bench, top, wheels)),
        "uv, hard links, --compile-bytecode": ("uv", lambda top: Uv(bench, top, wheels, words=("--compile-bytecode",))),
        "uv, copies": ("uv", lambda top: Uv(bench, top, wheels, link_mode="copy")),
        "symlink farm": ("farm", lambda top: Farm(bench, top, wheels)),
        "pip": ("pip", lambda top: Pip(bench, top, wheels)),
        "pip, --no-compile": ("pip", lambda top: Pip(bench, top, wheels, words=("--no-compile",))),
        "uvl-fuse": ("uvl", lambda top: Uvl(bench, top, wheels)),
        "uvl-fuse, --compile-bytecode": ("uvl", lambda top: Uvl(bench, top, wheels, words=("--compile-bytecode",))),
    }
    if not uvl_works(bench):
        kinds = {name: kind for name, kind in kinds.items() if not name.startswith("uvl-fuse")}
    peers = {}
    for name in names or kinds:
        if name in kinds:
            key, make = kinds[name]
            peers[name] = _ready(make(folder / key))
    return peers


def _ready(peer: Peer) -> Peer:
    """Let it learn, unless one has done so in its folder."""
    if not peer.top.exists():
        peer.top.mkdir(parents=True)
        peer.learn()
    return peer


def peers_of(bench: Bench, work: str, names: Sequence[str] = ()) -> dict[str, Peer]:
    """The same for a work, made once for the run; all that they have is in the page cache."""
    folder = bench.prepared / f"peers-{work}"
    peers = make_peers(bench, folder, bench.wheels(work), names)
    read_all([peer.top for peer in peers.values()])
    return peers


def uvl_works(bench: Bench) -> bool:
    """Whether uvl-fuse is installed, and shows what it should; if not, it is said. Looked at once for the run."""
    if not bench.tools.uvl:
        return False
    answer = bench.prepared / "uvl-works"
    if not answer.exists():
        answer.write_text(_try_uvl(bench), encoding="utf-8")
    return not answer.read_text(encoding="utf-8")


def _try_uvl(bench: Bench) -> str:
    """What is wrong with it."""
    with bench.scratch("uvl-probe") as probe:
        try:
            peer = _ready(Uvl(bench, probe / "uvl", make_wheels(probe, 1)))
            peer.make(probe / "second")
            run([str(peer.environment(probe / "second") / "bin/python"), "-c", "import bench_00000"], bench.env)
            peer.leave(probe / "second")
        except CommandFailed as failure:
            say(f"uvl-fuse is left out: {failure}")
            detach_below(probe)
            return str(failure)
    return ""

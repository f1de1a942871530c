"""Importing large packages: from plain files and from each kind of mount, first and again; and what the daemon is asked for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench, read_all
from scripts.bench.figures import Figure
from scripts.bench.processes import run
from scripts.bench.rounds import Turn, take_turns
from scripts.bench.stores import Store
from scripts.bench.tools import say, with_bytecode, without_bytecode
from scripts.bench.ways import PLAIN, Way

IMPORTS = {
    "pandas": "import pandas",
    "science": "import pandas, scipy.stats, sklearn.ensemble, matplotlib.pyplot, sympy",
}

_COLD_ROUNDS = 3
_DROP_CACHES = "/proc/sys/vm/drop_caches"  # proc_sys_vm(5)

_PROCESS = "a whole process. `native, again` is the same environment as `native`: its ratio is the noise"
_FIRST = (
    f"{_PROCESS}. All files are in the page cache; each mount is new, with a daemon of its own, so nothing of it is known to the kernel"
)
_AGAIN = f"{_PROCESS}. The second one on that mount"
_COLD = f"{_PROCESS}. All of the machine's caches are dropped (drop_caches, 3) after mounting; {_COLD_ROUNDS} rounds"
_BYTECODE = {
    "no bytecode": "Nobody has bytecode: each process compiles what it imports (PYTHONDONTWRITEBYTECODE)",
    "bytecode elsewhere": "All find bytecode on native files (PYTHONPYCACHEPREFIX)",
    "own bytecode": (
        "Python's default: each environment holds its own __pycache__, which an import before the rounds has written; in a mount that is"
        " the upper layer. Plain FUSE is read-only, so it is left out: it has no bytecode"
    ),
}
_REQUESTS = "what `casfs status` counts during the import, with bytecode elsewhere: sources are looked up but not read. Counted once"

Env = Callable[[str], Mapping[str, str]]
"""The variables of a process, given whose turn it is."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """The same wheels as plain files and in a store."""

    bench: Bench
    name: str
    folder: Path
    native: Path
    linked: Path
    store: Store
    ways: tuple[Way, ...]

    @property
    def mountpoint(self) -> Path:
        return self.folder / "mount"

    def environment(self, way: Way) -> str:
        """Each way has one of its own, and so its own upper layer."""
        return f"{self.name}-{way.key}"


def measure(bench: Bench) -> Iterator[Figure]:
    """pandas, and unless it must be quick, all of science. Compiling takes far longer than importing: enough to see it once."""
    for name in ["pandas"] if bench.is_quick else list(IMPORTS):
        with bench.scratch(f"imports-{name}") as folder:
            scene = _make_scene(bench, name, folder)
            if name == "pandas" and not bench.is_quick:
                yield from _measure(scene, "no bytecode", lambda side: without_bytecode(bench.env))
            yield from _measure(scene, "bytecode elsewhere", lambda side: with_bytecode(bench.env, folder / f"bytecode-{side}"))
            yield from _request_figures(scene, with_bytecode(bench.env, folder / "bytecode-mount"))
            yield from _measure(scene, "own bytecode", lambda side: bench.env)


def _make_scene(bench: Bench, name: str, folder: Path) -> _Scene:
    wheels = bench.wheels(name)
    native, store = bench.native(folder, wheels), bench.new_store(folder / "store")
    linked = bench.new_venv(folder / "linked")
    bench.uv_install(linked, wheels, folder / "linked-cache", "hardlink")
    ways = tuple(store.ways("bench-primer", folder / "mount"))
    scene = _Scene(bench, name, folder, native, linked, store, ways)
    for way in ways:
        store.add(scene.environment(way), wheels)
    read_all([native, linked, store.path])
    return scene


def _measure(scene: _Scene, bytecode: str, env: Env) -> Iterator[Figure]:
    ways = [way for way in scene.ways if way != PLAIN or bytecode != "own bytecode"]
    _warm(scene, ways, env)
    rounds = take_turns(scene.bench.rounds, _turns(scene, ways, env))
    for metric, conditions in {"first": _FIRST, "again": _AGAIN}.items():
        yield rounds.figure("imports", metric, f"{scene.name}, {metric}, {bytecode}", "s", f"{conditions}. {_BYTECODE[bytecode]}")
    if bytecode != "no bytecode" and not scene.bench.is_quick:
        yield from _measure_cold(scene, ways, bytecode, env)


def _warm(scene: _Scene, ways: list[Way], env: Env) -> None:
    """Import once from everywhere: it writes bytecode, and caches of libraries, such as matplotlib's fonts."""
    for folder, side in ((scene.native, "native"), (scene.linked, "linked")):
        import_from(folder, scene.name, env(side))
    for way in ways:
        with scene.store.mounted(scene.environment(way), scene.mountpoint, way=way):
            import_from(scene.mountpoint, scene.name, env("mount"))


def import_from(environment: Path, name: str, env: Mapping[str, str]) -> float:
    """Seconds that a process takes to import a set."""
    return run([str(environment / "bin/python"), "-c", IMPORTS[name]], env).seconds


def _turns(scene: _Scene, ways: list[Way], env: Env) -> dict[str, Turn]:
    def native(folder: Path, side: str, number: int) -> Mapping[str, float]:
        return {metric: import_from(folder, scene.name, env(side)) for metric in ("first", "again")}

    def mounted(way: Way, number: int) -> Mapping[str, float]:
        with scene.store.mounted(scene.environment(way), scene.mountpoint, way=way):
            return {metric: import_from(scene.mountpoint, scene.name, env("mount")) for metric in ("first", "again")}

    return _sides(scene, ways, native, mounted)


def _sides(
    scene: _Scene, ways: list[Way], native: Callable[..., Mapping[str, float]], mounted: Callable[..., Mapping[str, float]]
) -> dict[str, Turn]:
    plain: dict[str, Turn] = {
        "native": partial(native, scene.native, "native"),
        "native, again": partial(native, scene.native, "native"),
        "uv, hard links": partial(native, scene.linked, "linked"),
    }
    return {**plain, **{way.name: partial(mounted, way) for way in ways}}


def _measure_cold(scene: _Scene, ways: list[Way], bytecode: str, env: Env) -> Iterator[Figure]:
    if not os.access(_DROP_CACHES, os.W_OK):
        say("imports from a cold cache are left out: only root can drop caches")
        return

    def native(folder: Path, side: str, number: int) -> Mapping[str, float]:
        _drop_caches()
        return {"cold": import_from(folder, scene.name, env(side))}

    def mounted(way: Way, number: int) -> Mapping[str, float]:
        with scene.store.mounted(scene.environment(way), scene.mountpoint, way=way):
            return native(scene.mountpoint, "mount", number)

    rounds = take_turns(min(_COLD_ROUNDS, scene.bench.rounds), _sides(scene, ways, native, mounted))
    yield rounds.figure("imports", "cold", f"{scene.name}, cold, {bytecode}", "s", f"{_COLD}. {_BYTECODE[bytecode]}")
    read_all([scene.native, scene.linked, scene.store.path])


def _drop_caches() -> None:
    os.sync()
    Path(_DROP_CACHES).write_text("3", encoding="ascii")


def _request_figures(scene: _Scene, env: Mapping[str, str]) -> Iterator[Figure]:
    """Counted once: they are the same each time."""
    for way in scene.ways:
        with scene.store.mounted(scene.environment(way), scene.mountpoint, way=way) as mounted:
            counts = [mounted.requests()]
            for which in ("first", "second"):
                import_from(scene.mountpoint, scene.name, env)
                counts.append(mounted.requests())
                yield _request_figure(f"{scene.name}, requests of the {which} import, {way.name}", *counts[-2:])


def _request_figure(what: str, before: Mapping[str, int], after: Mapping[str, int]) -> Figure:
    made = {kind: float(count - before.get(kind, 0)) for kind, count in sorted(after.items())}
    values = {"all": [sum(made.values())], **{kind: [count] for kind, count in made.items() if count}}
    return Figure("imports", what, "requests", _REQUESTS, values, has_ratios=False)

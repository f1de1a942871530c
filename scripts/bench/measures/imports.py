"""Importing large packages: from plain files, from a mount for the first time and again; and what the daemon is asked for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.bench import Bench, read_all
from scripts.bench.figures import Figure
from scripts.bench.processes import run
from scripts.bench.rounds import Turn, take_turns
from scripts.bench.stores import Store
from scripts.bench.tools import with_bytecode, without_bytecode

IMPORTS = {
    "pandas": "import pandas",
    "science": "import pandas, scipy.stats, sklearn.ensemble, matplotlib.pyplot, sympy",
}

_CACHES = (
    "a whole process. All files are in the page cache; each round mounts anew, so the first import finds no name, attribute or page of it"
)
_WITH_BYTECODE = f"{_CACHES}. Both sides find bytecode on native files (PYTHONPYCACHEPREFIX), for the mount can hold none of its own"
_WITHOUT_BYTECODE = f"{_CACHES}. Neither side has bytecode: each process compiles what it imports (PYTHONDONTWRITEBYTECODE)"
_REQUESTS = "what `casfs status` counts during the import, with bytecode as above: sources are looked up but not read. Counted once"


@dataclass(frozen=True, slots=True)
class _Scene:
    """The same wheels as plain files and in a store."""

    name: str
    native: Path
    store: Store
    mountpoint: Path


def measure(bench: Bench) -> Iterator[Figure]:
    """pandas, and unless it must be quick, all of science."""
    for name in ["pandas"] if bench.is_quick else list(IMPORTS):
        with bench.scratch(f"imports-{name}") as folder:
            wheels = bench.wheels(name)
            scene = _Scene(name, bench.native(folder, wheels), bench.new_store(folder / "store"), folder / "mount")
            scene.store.add(name, wheels)
            read_all([scene.native, scene.store.path])
            yield from _measure_without(bench, scene)
            yield from _measure_with(bench, scene, folder)


def _measure_without(bench: Bench, scene: _Scene) -> Iterator[Figure]:
    env = without_bytecode(bench.env)
    import_from(scene.native, scene.name, env)  # caches of libraries, such as matplotlib's fonts
    rounds = take_turns(bench.rounds, _turns(scene, lambda side: env))
    yield rounds.figure("imports", "seconds", f"{scene.name}, no bytecode", "s", _WITHOUT_BYTECODE)


def _measure_with(bench: Bench, scene: _Scene, folder: Path) -> Iterator[Figure]:
    def env(side: str) -> dict[str, str]:
        return with_bytecode(bench.env, folder / f"bytecode-{side}")

    import_from(scene.native, scene.name, env("native"))
    with scene.store.mounted(scene.name, scene.mountpoint):
        import_from(scene.mountpoint, scene.name, env("mount"))
    rounds = take_turns(bench.rounds, _turns(scene, env))
    yield rounds.figure("imports", "seconds", f"{scene.name}, with bytecode", "s", _WITH_BYTECODE)
    yield from _request_figures(scene, env("mount"))


def import_from(environment: Path, name: str, env: Mapping[str, str]) -> float:
    """Seconds that a process takes to import a set."""
    return run([str(environment / "bin/python"), "-c", IMPORTS[name]], env).seconds


def _turns(scene: _Scene, env: Callable[[str], dict[str, str]]) -> dict[str, Turn]:
    """The two imports on one mount are turns of their own, so that all are compared within a round."""

    def native(number: int) -> Mapping[str, float]:
        return {"seconds": import_from(scene.native, scene.name, env("native"))}

    def first(number: int) -> Mapping[str, float]:
        scene.store.mount(scene.name, scene.mountpoint)
        return {"seconds": import_from(scene.mountpoint, scene.name, env("mount"))}

    def second(number: int) -> Mapping[str, float]:
        seconds = import_from(scene.mountpoint, scene.name, env("mount"))
        scene.store.umount(scene.store.find(scene.mountpoint))
        return {"seconds": seconds}

    return {"native": native, "mount, first": first, "mount, second": second}


def _request_figures(scene: _Scene, env: Mapping[str, str]) -> Iterator[Figure]:
    """Counted once: they are the same each time."""
    with scene.store.mounted(scene.name, scene.mountpoint) as mounted:
        counts = [mounted.requests()]
        for which in ("first", "second"):
            import_from(scene.mountpoint, scene.name, env)
            counts.append(mounted.requests())
            made = {kind: float(count - counts[-2].get(kind, 0)) for kind, count in sorted(counts[-1].items())}
            values = {"all": [sum(made.values())], **{kind: [count] for kind, count in made.items() if count}}
            yield Figure("imports", f"{scene.name}, requests of the {which} import", "requests", _REQUESTS, values, has_ratios=False)

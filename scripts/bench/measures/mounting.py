"""Mounting as the environment grows: the commands mount, rollback and umount, the first look, the first import."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench, read_all, site_packages
from scripts.bench.figures import Figure
from scripts.bench.processes import run
from scripts.bench.stores import Store
from scripts.bench.synthetic import make_wheels
from scripts.bench.tools import without_bytecode
from scripts.bench.ways import Way

_COUNTS, _QUICK_COUNTS = (1, 30, 300, 1000), (100,)
_COMMANDS_S = 11  # for each count

_WHAT = {
    "mount": "the command `casfs mount`, until the mount answers; it starts the daemon. The store is in the page cache",
    "first ls": "os.listdir of site-packages on the fresh mount",
    "first import": "then a whole process of the environment's python that imports a small package; no bytecode",
    "rollback": "the command `casfs rollback`, until the mount shows the generation before, which lacks one distribution",
    "umount": "the command `casfs umount`, until the daemon is gone",
}


@dataclass(frozen=True, slots=True)
class _Scene:
    """Environments of a store, each of so many small distributions and one more."""

    bench: Bench
    store: Store
    folder: Path

    @property
    def mountpoint(self) -> Path:
        return self.folder / "mount"


def measure(bench: Bench) -> Iterator[Figure]:
    """For environments of 1 to 1,000 small distributions; of 100 if it must be quick."""
    counts = _QUICK_COUNTS if bench.is_quick else _COUNTS
    with bench.scratch("mounting") as folder:
        (folder / "wheels").mkdir()
        wheels = make_wheels(folder / "wheels", max(counts) + 1)
        scene = _Scene(bench, bench.new_store(folder / "store"), folder)
        for count in counts:
            scene.store.add(_environment(count), wheels[:count])
            scene.store.add(_environment(count), wheels[count : count + 1])
        read_all([scene.store.path])
        for count in counts:
            yield from _measure_commands(scene, count, scene.store.ways(_environment(count), scene.mountpoint))


def _environment(count: int) -> str:
    return f"of-{count}"


def _name(count: int) -> str:
    return f"{count:,} distribution{'s' if count > 1 else ''}"


def _measure_commands(scene: _Scene, count: int, ways: list[Way]) -> Iterator[Figure]:
    rounds = scene.bench.take_turns({way.name: partial(_take_commands, scene, count, way) for way in ways}, _COMMANDS_S)
    for what, conditions in _WHAT.items():
        yield rounds.figure("mounting", what, f"{what}, {_name(count)}", "s", conditions)


def _take_commands(scene: _Scene, count: int, way: Way, number: int) -> Mapping[str, float]:
    store, mountpoint = scene.store, scene.mountpoint
    packages = site_packages(Path(scene.bench.tools.own_python).parents[1]).relative_to(Path(scene.bench.tools.own_python).parents[1])
    mount = store.mount(_environment(count), mountpoint, way=way)
    began = time.perf_counter()
    os.listdir(mountpoint / packages)
    listed = time.perf_counter() - began
    imported = run([str(mountpoint / "bin/python"), "-c", "import bench_00000"], without_bytecode(scene.bench.env))
    seconds = {"mount": mount, "first import": imported}
    seconds["rollback"] = store.casfs("--env", _environment(count), "rollback", way=way)
    seconds["umount"] = store.umount(store.find(mountpoint))
    return {"first ls": listed, **{what: usage.seconds for what, usage in seconds.items()}}

"""Mounting as the environment grows: the commands mount, rollback and umount, the first look, the first import; and what is inside them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.bench.bench import PRIMER, Bench, read_all, site_packages
from scripts.bench.figures import Figure
from scripts.bench.processes import run
from scripts.bench.rounds import Turn
from scripts.bench.stores import Store
from scripts.bench.synthetic import make_wheels
from scripts.bench.tools import without_bytecode
from scripts.bench.ways import WAYS, Way

_COUNTS, _QUICK_COUNTS = (1, 30, 300, 1000), (100,)
_COMMANDS_S, _INSIDE_S = 11, 4  # for each count
_INSIDE = str(Path(__file__).parents[1] / "inside.py")

_WHAT = {
    "mount": "the command `casfs mount`, until the mount answers; it starts the daemon. The store is in the page cache",
    "first ls": "os.listdir of site-packages on the fresh mount",
    "first import": "then a whole process of the environment's python that imports a small package; no bytecode",
    "rollback": "the command `casfs rollback`, until the mount shows the generation before, which lacks one distribution",
    "umount": "the command `casfs umount`, until the daemon is gone",
}

_STEPS = {
    "mount": "placing.make_mount of an environment that is mounted nowhere; its image is written",
    "mount at a second place": "the same where it is mounted already: one more mount of its overlay",
    "swap": "placing.move_mounts to another generation, which is written before",
    "umount": "unmounting, and placing.end_unused_overlays",
    "mount, the kernel's part": "make_overlay and attach_mount; the image is mounted",
    "swap, the kernel's part": "the same beneath the old one (MOVE_MOUNT_BENEATH), which is then detached",
    "umount, the kernel's part": "umount2(2)",
}
_RUNNING = "in one process beside a running daemon, without a start of Python. The first cycle is not counted"


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
            ways = scene.store.ways(_environment(count), scene.mountpoint)
            yield from _measure_commands(scene, count, ways)
            yield from _measure_inside(scene, count, [way for way in ways if way in WAYS[:2]])


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


def _measure_inside(scene: _Scene, count: int, ways: list[Way]) -> Iterator[Figure]:
    """Only root's mounts are made outside of the process that serves them."""
    if not ways:
        return
    with scene.store.mounted(PRIMER, scene.folder / "keeper"):
        turns: dict[str, Turn] = {way.name: partial(_take_inside, scene, count, way) for way in ways}
        rounds = scene.bench.take_turns(turns, _INSIDE_S)
    for what, conditions in _STEPS.items():
        yield rounds.figure("mounting", what, f"{what}, inside, {_name(count)}", "s", f"{conditions}; {_RUNNING}")


def _take_inside(scene: _Scene, count: int, way: Way, number: int) -> Mapping[str, float]:
    with scene.bench.scratch("cycles") as folder:
        command = [scene.bench.tools.own_python, "-P", _INSIDE, str(scene.store.path), _environment(count), str(folder), "2"]
        seconds = json.loads(run(command, {**scene.bench.env, **way.env}).output)
    return {what: values[-1] for what, values in seconds.items()}

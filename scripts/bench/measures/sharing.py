"""Sharing: what each further environment costs in memory when all of them import the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench
from scripts.bench.figures import Figure
from scripts.bench.pagecache import cached_bytes, can_count, evict, memory_of_machine
from scripts.bench.processes import run
from scripts.bench.rounds import Turn
from scripts.bench.tools import say
from scripts.bench.ways import Way

_COUNT, _QUICK_COUNT = 50, 10
_FEW = 5
"""Of plain environments: each costs what the one before did, and 200 of them would take 15 GB of disk."""

_BYTECODE = "casfs has the pool's bytecode, which `casfs add` makes by default; elsewhere the import writes it, as Python does"
_WHAT = {
    "files": "page cache of all files of the environments and of the store (cachestat(2)), which is empty before the first import",
    "machine": "growth of Cached and Buffers in /proc/meminfo, whoever caused it: noisy unless the machine is quiet",
    "slab": "growth of Slab in /proc/meminfo: names, inodes, attributes. Noisy, too",
    "daemon": "growth of the daemon's proportional set size, both processes",
}


@dataclass(frozen=True, slots=True)
class _Scene:
    """What all contenders have in common."""

    bench: Bench
    folder: Path
    wheels: Sequence[str]
    count: int


@dataclass(frozen=True, slots=True)
class _Tenants:
    """Environments that come one after the other."""

    top: Path  # where their files are
    count: int
    enter: Callable[[range], list[Path]]  # makes environments appear; answers where
    daemon: Callable[[], int]  # bytes


def measure(bench: Bench) -> Iterator[Figure]:
    """50 environments of numpy, 20 if it must be quick; five of plain files."""
    with bench.scratch("sharing") as folder:
        if not can_count(folder):
            say("sharing: left out, for this kernel does not tell what is cached (Linux does since 6.5)")
            return
        count = _QUICK_COUNT if bench.is_quick else _COUNT
        yield from _measure(_Scene(bench, folder, bench.wheels("numpy"), count))


def _measure(scene: _Scene) -> Iterator[Figure]:
    way = scene.bench.ways()[0]
    turns: dict[str, Turn] = {
        "native copies": partial(_take_plain, scene, "copy"),
        "uv, hard links": partial(_take_plain, scene, "hardlink"),
        way.name: partial(_take_mounts, scene, way),
    }
    rounds = scene.bench.take_once(turns)
    said = f"{_BYTECODE}. casfs: {scene.count} environments, mounted at once; others: {_FEW}. Measured once"
    for what, includes in _WHAT.items():
        conditions = f"{includes}; each imports numpy once. Growth by environment from the second one on. {said}"
        yield rounds.figure("sharing", what, f"{what}, each further environment", "B", conditions)
    total = f"page cache of the files, the first environment included; plain ones are computed from {_FEW}, not measured. {said}"
    yield rounds.figure("sharing", "all", f"files, {scene.count} environments", "B", total)


def _take_plain(scene: _Scene, link_mode: str, number: int) -> Mapping[str, float]:
    top = scene.folder / link_mode
    top.mkdir()

    def enter(numbers: range) -> list[Path]:
        return [top / f"venv-{one}" for one in numbers]

    for venv in enter(range(_FEW)):
        scene.bench.uv_install(scene.bench.new_venv(venv), scene.wheels, top / "cache", link_mode)
    return _take(scene, _Tenants(top, _FEW, enter, lambda: 0))


def _take_mounts(scene: _Scene, way: Way, number: int) -> Mapping[str, float]:
    top = scene.folder / way.key
    top.mkdir()
    store = scene.bench.new_store(top / "store")
    python = ("--python", scene.bench.tools.python)
    for one in range(scene.count):
        store.casfs("--env", f"e{one:03}", "add", *python, *scene.wheels)

    def enter(numbers: range) -> list[Path]:
        for one in numbers:
            store.mount(f"e{one:03}", top / str(one), way=way)
        return [top / str(one) for one in numbers]

    found = _take(scene, _Tenants(store.path, scene.count, enter, lambda: store.find(top / "0").memory()[1]))
    store.umount_all()
    return found


def _take(scene: _Scene, tenants: _Tenants) -> dict[str, float]:
    """Bytes by environment from the second one on; `all` is what so many as the scene wants need."""
    evict(tenants.top)
    sizes = []
    for numbers in (range(1), range(1, tenants.count)):
        for environment in tenants.enter(numbers):
            run([str(environment / "bin/python"), "-c", "import numpy"], scene.bench.env)
        sizes.append(_sizes(tenants))
    before, after = sizes
    further = {what: (after[what] - before[what]) / (tenants.count - 1) for what in after}
    return {**further, "all": before["files"] + further["files"] * (scene.count - 1)}


def _sizes(tenants: _Tenants) -> dict[str, float]:
    os.sync()
    machine = memory_of_machine()
    sizes = {"machine": machine["page cache"], "slab": machine["slab"], "daemon": tenants.daemon()}
    return {**sizes, "files": cached_bytes(tenants.top)}

"""Mounting as the environment grows: mount, the first look, the first import, umount."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from scripts.bench.bench import Bench, read_all, site_packages
from scripts.bench.figures import Figure
from scripts.bench.processes import run
from scripts.bench.rounds import Turn, take_turns
from scripts.bench.stores import Store
from scripts.bench.synthetic import make_wheels
from scripts.bench.tools import without_bytecode

_COUNTS, _QUICK_COUNTS = (1, 300, 1000), (1, 300)

_WHAT = {
    "mount": "the command `casfs mount`, until the mount answers; the store is in the page cache",
    "first ls": "os.listdir of site-packages on the fresh mount",
    "first import": "then a whole process of the environment's python that imports a small package; no bytecode on either side",
    "umount": "the command `casfs umount`, until the daemon is gone",
}


def measure(bench: Bench) -> Iterator[Figure]:
    """For environments of 1, 300 and, unless it must be quick, 1,000 small distributions."""
    counts = _QUICK_COUNTS if bench.is_quick else _COUNTS
    with bench.scratch("mounting") as folder:
        (folder / "wheels").mkdir()
        wheels = make_wheels(folder / "wheels", max(counts))
        store = bench.new_store(folder / "store")
        for count in counts:
            store.add(f"of-{count}", wheels[:count])
        read_all([store.path])
        rounds = take_turns(bench.rounds, {_name(count): _turn(bench, store, folder / "mount", count) for count in counts})
        for what, conditions in _WHAT.items():
            yield rounds.figure("mounting", what, what, "s", conditions)


def _name(count: int) -> str:
    return f"{count:,} distribution{'s' if count > 1 else ''}"


def _turn(bench: Bench, store: Store, mountpoint: Path, count: int) -> Turn:
    packages = site_packages(Path(bench.tools.own_python).parents[1]).relative_to(Path(bench.tools.own_python).parents[1])
    command = [str(mountpoint / "bin/python"), "-c", f"import bench_{count - 1:05}"]
    env = without_bytecode(bench.env)

    def turn(number: int) -> Mapping[str, float]:
        mount = store.mount(f"of-{count}", mountpoint)
        began = time.perf_counter()
        os.listdir(mountpoint / packages)
        listed = time.perf_counter() - began
        imported = run(command, env)
        umount = store.umount(store.find(mountpoint))
        return {"mount": mount.seconds, "first ls": listed, "first import": imported.seconds, "umount": umount.seconds}

    return turn

"""Metadata twins: what they add to `casfs add`, in time and on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench
from scripts.bench.figures import Figure
from scripts.bench.measures.disk import count_disk
from scripts.bench.tools import say
from scripts.bench.ways import TWINS
from scripts.bench.works import LEAST

_TIME = (
    "`casfs add` of a wheel that is new to the store, which lays out its twins; and then making the same twins again, in a process that"
    " runs already, sync included. The ratio is their share of the add. The wheel is in the page cache"
)
_DISK = "blocks on disk, each inode counted once: all of the store but the twins, and the twins. The ratio is what twins add"


def measure(bench: Bench) -> Iterator[Figure]:
    """Many small files, and a very large wheel; few large ones if it must be quick."""
    works = ["numpy"] if bench.is_quick else ["django"]
    for work in [*works, *(["tensorflow"] if bench.is_large else [])]:
        with bench.scratch(f"twins-{work}") as folder:
            if TWINS not in bench.ways():
                say("twins: left out, for they can't be made here")
                return
            wheels = bench.wheels(work)
            rounds = bench.take_turns({"casfs": partial(_take, bench, folder, wheels)}, 12, LEAST.get(work))
            values = {metric: rounds.values[metric]["casfs"] for metric in rounds.values}
            loaded = rounds.loaded
            yield Figure("twins", f"{work}: time", "s", _TIME, {"add": values["add"], "its twins": values["twins"]}, loaded_rounds=loaded)
            for unit in ("B", "inodes"):
                sides = {"store": values[f"store, {unit}"], "twins": values[f"twins, {unit}"]}
                yield Figure("twins", f"{work}: {'disk' if unit == 'B' else 'inodes'}", unit, _DISK, sides)


def _take(bench: Bench, folder: Path, wheels: list[str], number: int) -> Mapping[str, float]:
    store = bench.new_store(folder / "store")
    bench.settle()
    added = store.add("one", wheels)
    whole, twins = count_disk(store.path), count_disk(store.path / "twins")
    bench.settle()
    [seconds] = store.run_program("twins", "one")
    bench.put_away(store.path)
    return {
        "add": added.seconds,
        "twins": seconds,
        "store, B": float(whole[0] - twins[0]),
        "twins, B": float(twins[0]),
        "store, inodes": float(whole[1] - twins[1]),
        "twins, inodes": float(twins[1]),
    }

"""Metadata images: what packing, building and writing them takes, beside `casfs add`, and what of it lies on the disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench
from scripts.bench.figures import Figure
from scripts.bench.measures.disk import count_disk
from scripts.bench.works import LEAST

_TIME = (
    "`casfs add` of a wheel that is new to the store, without bytecode; and, in a process that runs already, packing the fragments of all"
    " its manifests, building the image of the environment from them, and writing it to a file without a name"
)
_DISK = "blocks on disk, each inode counted once: all of the store but fragments, and the fragments"


def measure(bench: Bench) -> Iterator[Figure]:
    """Many small files, and a very large wheel; few large ones if it must be quick."""
    works = ["numpy"] if bench.is_quick else ["django"]
    for work in [*works, *(["tensorflow"] if bench.is_large else [])]:
        with bench.scratch(f"image-{work}") as folder:
            rounds = bench.take_turns({"casfs": partial(_take, bench, folder, bench.wheels(work))}, 12, LEAST.get(work))
            values = {metric: rounds.values[metric]["casfs"] for metric in rounds.values}
            times = {what: values[what] for what in ("add", "packing", "building", "writing")}
            yield Figure("image", f"{work}: time", "s", _TIME, times, loaded_rounds=rounds.loaded)
            yield Figure("image", f"{work}: disk", "B", _DISK, {"store": values["store"], "fragments": values["fragments"]})


def _take(bench: Bench, folder: Path, wheels: list[str], number: int) -> Mapping[str, float]:
    store = bench.new_store(folder / "store")
    bench.settle()
    added = store.add("one", wheels)
    whole = count_disk(store.path)[0]
    bench.settle()
    packing, building, writing = store.run_program("image", "one")
    fragments = count_disk(store.path)[0] - whole
    bench.put_away(store.path)
    times = {"add": added.seconds, "packing": packing, "building": building, "writing": writing}
    return {**times, "store": float(whole), "fragments": float(fragments)}

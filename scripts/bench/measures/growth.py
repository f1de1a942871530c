"""Growth: what adding a wheel, mounting and checking take as the pool grows; measured to 36,000 blobs, and by a model to ten million.

Nothing is removed from a pool yet, so there is no collection to time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench, read_all, settle
from scripts.bench.figures import Figure
from scripts.bench.model import predict
from scripts.bench.rounds import Turn
from scripts.bench.stores import Store
from scripts.bench.synthetic import make_blob_wheels, make_wheels

_BLOBS, _QUICK_BLOBS = (1_000, 6_000, 36_000), (1_000, 3_000)
_TARGET = 10_000_000
_ALLOWED_S = 25

_TINY = "the pool's blobs are synthetic, some 30 bytes each, in wheels of 1,000 files. Store in the page cache"
_WHAT = {
    "add, time": ("s", "`casfs add` of one small new wheel into an environment of its own"),
    "add, peak": ("B", "the largest resident size of that process"),
    "mount, time": ("s", "`casfs mount` of an environment of one small wheel, which starts the daemon"),
    "mount, RSS": ("B", "resident size of the daemon's two processes after that"),
    "fsck, time": ("s", "`casfs fsck`, which reads every byte"),
    "fsck, peak": ("B", "the largest resident size of that process"),
}
_MODEL = (
    "The model is NOT measured: a straight line through each round's measured points, by least squares of relative errors, taken to"
    f" {_TARGET:,} blobs; a level one where the spreads of the smallest and the largest pool overlap. It knows nothing of a cache that"
    " gets too small"
)


def measure(bench: Bench) -> Iterator[Figure]:
    """Pools of three sizes, two if it must be quick; one contender for each size."""
    sizes = _QUICK_BLOBS if bench.is_quick else _BLOBS
    with bench.scratch("growth") as folder:
        stores = {size: _make_store(bench, folder / str(size), size) for size in sizes}
        (folder / "new").mkdir()
        new = make_wheels(folder / "new", bench.pace.most)
        turns: dict[str, Turn] = {_name(size): partial(_take, store, new) for size, store in stores.items()}
        rounds = bench.take_turns(turns, _ALLOWED_S)
    for metric, (unit, conditions) in _WHAT.items():
        loaded = rounds.loaded if unit == "s" else ()
        values = dict(rounds.values[metric])
        said = f"{conditions}; {_TINY}"
        if not bench.is_quick:  # sizes that hardly differ tell more of noise than of growth
            values[f"model: {_name(_TARGET)}"] = predict(sizes, list(values.values()), _TARGET)
            said = f"{said}. {_MODEL}"
        yield Figure("growth", metric, unit, said, values, loaded_rounds=loaded)


def _name(size: int) -> str:
    return f"{size:,} blobs"


def _make_store(bench: Bench, folder: Path, size: int) -> Store:
    folder.mkdir()
    store = bench.new_store(folder / "store")
    store.add("blobs", make_blob_wheels(folder, size, 1000))
    for wheel in folder.glob("*.whl"):
        wheel.unlink()
    read_all([store.path])
    return store


def _take(store: Store, new: Sequence[str], number: int) -> Mapping[str, float]:
    settle()
    added = store.add_by_default(f"new-{number}", [new[number]])
    mountpoint = store.path.parent / "mount"
    mounted = store.mount(f"new-{number}", mountpoint)
    found = store.find(mountpoint)
    resident = found.memory()[0]
    store.umount(found)
    checked = store.casfs("fsck")
    return {
        "add, time": added.seconds,
        "add, peak": added.peak,
        "mount, time": mounted.seconds,
        "mount, RSS": float(resident),
        "fsck, time": checked.seconds,
        "fsck, peak": checked.peak,
    }

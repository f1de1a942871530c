"""Growth: what adding, mounting, checking and collecting take as the pool grows to 36,000 blobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench, read_all
from scripts.bench.figures import Figure
from scripts.bench.rounds import Turn
from scripts.bench.stores import Store
from scripts.bench.synthetic import make_blob_wheels, make_wheels

_BLOBS, _QUICK_BLOBS = (1_000, 6_000, 36_000), (1_000, 3_000)
_ALLOWED_S = 30

_ENVIRONMENT = "blobs"

_TINY = "the pool's blobs are synthetic, some 30 bytes each, in wheels of 1,000 files. Store in the page cache"
_WHAT = {
    "add, time": ("s", "`casfs add` of one small new wheel into an environment of its own"),
    "add, peak": ("B", "the largest resident size of that process"),
    "mount, time": ("s", "`casfs mount` of an environment of one small wheel, which starts the daemon"),
    "mount, RSS": ("B", "resident size of the daemon's two processes after that"),
    "fsck, time": ("s", "`casfs fsck`, which reads every byte"),
    "fsck, peak": ("B", "the largest resident size of that process"),
    "collect, dry run, time": ("s", "`casfs collect --dry-run`, which finds that everything is needed"),
    "collect, dry run, peak": ("B", "the largest resident size of that process"),
    "collect of all, time": ("s", "`casfs collect --unused-wheels` once nothing needs these blobs any more: it removes all of them. Once"),
    "collect of all, peak": ("B", "the largest resident size of that process. Once"),
}


def measure(bench: Bench) -> Iterator[Figure]:
    """Pools of three sizes, two if it must be quick; one contender for each size."""
    sizes = _QUICK_BLOBS if bench.is_quick else _BLOBS
    with bench.scratch("growth") as folder:
        stores = {size: _make_store(bench, folder / str(size), size) for size in sizes}
        (folder / "new").mkdir()
        new = make_wheels(folder / "new", bench.pace.most)
        turns: dict[str, Turn] = {_name(size): partial(_take, bench, store, new) for size, store in stores.items()}
        rounds = bench.take_turns(turns, _ALLOWED_S)
        last = bench.take_once({_name(size): partial(_take_last, bench, store) for size, store in stores.items()})
    for metric, (unit, conditions) in _WHAT.items():
        taken = rounds if metric in rounds.values else last
        yield taken.figure("growth", metric, metric, unit, f"{conditions}; {_TINY}")


def _name(size: int) -> str:
    return f"{size:,} blobs"


def _make_store(bench: Bench, folder: Path, size: int) -> Store:
    folder.mkdir()
    store = bench.new_store(folder / "store")
    store.add(_ENVIRONMENT, make_blob_wheels(folder, size, 1000))
    for wheel in folder.glob("*.whl"):
        wheel.unlink()
    read_all([store.path])
    return store


def _take(bench: Bench, store: Store, new: Sequence[str], number: int) -> Mapping[str, float]:
    bench.settle()
    added = store.add_by_default(f"new-{number}", [new[number]])
    mountpoint = store.path.parent / "mount"
    mounted = store.mount(f"new-{number}", mountpoint)
    found = store.find(mountpoint)
    resident = found.memory()[0]
    store.umount(found)
    checked = store.casfs("fsck")
    collected = store.casfs("collect", "--dry-run")
    return {
        "add, time": added.seconds,
        "add, peak": added.peak,
        "mount, time": mounted.seconds,
        "mount, RSS": float(resident),
        "fsck, time": checked.seconds,
        "fsck, peak": checked.peak,
        "collect, dry run, time": collected.seconds,
        "collect, dry run, peak": collected.peak,
    }


def _take_last(bench: Bench, store: Store, number: int) -> Mapping[str, float]:
    """There is nothing left to measure then."""
    store.casfs("env", "remove", _ENVIRONMENT)
    bench.settle()
    collected = store.casfs("collect", "--unused-wheels")
    return {"collect of all, time": collected.seconds, "collect of all, peak": collected.peak}

"""Reading one large file, as a shared library is: in order and at random, cold and from the page cache."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench, site_packages
from scripts.bench.figures import Figure
from scripts.bench.pagecache import can_drop, drop_caches
from scripts.bench.peers import make_peers, uvl_works
from scripts.bench.rounds import Turn
from scripts.bench.stores import Store
from scripts.bench.synthetic import make_large_wheel
from scripts.bench.tools import say
from scripts.bench.ways import Way

_SIZE, _QUICK_SIZE = 500_000_000, 50_000_000
_CHUNK, _PAGE = 1 << 20, 4096
_READS = 2000
_ALLOWED_S = 25

_WARM = "all of it is in the page cache, for it was read before in this round"
_COLD = "the machine's caches are dropped before (drop_caches, 3); what the disk's host has in its own cache is not known"
_IN_ORDER = "read(2) of 1 MiB each, from the start to the end"
_AT_RANDOM = f"pread(2) of 4 KiB at places that are the same for all; a cold one has {_READS:,}, a warm one ten times as many"


def measure(bench: Bench) -> Iterator[Figure]:
    """A file of 500 MB, or of 50 MB if it must be quick."""
    if not can_drop():
        say("reads: cold ones are left out, for only root can drop caches")
    size = _QUICK_SIZE if bench.is_quick else _SIZE
    with bench.scratch("reads") as folder:
        wheel = make_large_wheel(folder, size)
        native = bench.new_venv(folder / "native")
        bench.uv_install(native, [wheel], folder / "cache", "copy")
        bench.put_away(folder / "cache")
        store = bench.new_store(folder / "store")
        store.add("large", [wheel])
        inside = next(site_packages(native).rglob("library.bin")).relative_to(native)
        with _uvl_turns(bench, folder, wheel, inside) as others:
            os.unlink(wheel)
            bench.settle()
            rounds = bench.take_turns({**_turns(bench, store, folder, native, inside), **others}, _ALLOWED_S)
    for metric in rounds.values:
        how, when = (_IN_ORDER if "in order" in metric else _AT_RANDOM), (_COLD if "cold" in metric else _WARM)
        yield rounds.figure("reads", metric, f"{size // 1_000_000} MB, {metric}", "B/s", f"{how}; {when}")


def _turns(bench: Bench, store: Store, folder: Path, native: Path, inside: Path) -> dict[str, Turn]:
    def mounted(way: Way, number: int) -> Mapping[str, float]:
        with store.mounted("large", folder / "mount", way=way):
            return time_reads(folder / "mount" / inside, has_cold=can_drop())

    plain: dict[str, Turn] = {name: lambda number: time_reads(native / inside, has_cold=can_drop()) for name in ("native", "native, again")}
    return {**plain, **{way.name: partial(mounted, way) for way in bench.ways()}}


@contextmanager
def _uvl_turns(bench: Bench, folder: Path, wheel: str, inside: Path) -> Iterator[dict[str, Turn]]:
    """None where it does not work. Its mount lives for all rounds."""
    if not uvl_works(bench):
        yield {}
        return
    [peer] = make_peers(bench, folder, [wheel], ["uvl-fuse"]).values()
    peer.make(folder / "uvl-mount")
    yield {"uvl-fuse": lambda number: time_reads(peer.environment(folder / "uvl-mount") / inside, has_cold=can_drop())}
    peer.leave(folder / "uvl-mount")


def time_reads(path: Path, *, has_cold: bool) -> dict[str, float]:
    """Bytes by second, cold ones (which need root) if so wanted. The order matters: what is warm was read before."""
    found: dict[str, float] = {}
    size = path.stat().st_size
    for when, count in {"cold": _READS, "warm": 10 * _READS}.items() if has_cold else [("warm", 10 * _READS)]:
        kinds: dict[str, Callable[[int], int]] = {"at random": partial(_read_at_random, size, count), "in order": _read_in_order}
        for metric, read in kinds.items():
            if when == "cold":
                drop_caches()
            found[f"{metric}, {when}"] = _speed(path, read)
    return found


def _speed(path: Path, read: Callable[[int], int]) -> float:
    fd = os.open(path, os.O_RDONLY)
    try:
        began = time.perf_counter()
        size = read(fd)
        return size / (time.perf_counter() - began)
    finally:
        os.close(fd)


def _read_in_order(fd: int) -> int:
    buffer, size = bytearray(_CHUNK), 0
    while count := os.readv(fd, [buffer]):
        size += count
    return size


def _read_at_random(size: int, count: int, fd: int) -> int:
    places = random.Random(0)
    return sum(len(os.pread(fd, _PAGE, places.randrange(size // _PAGE) * _PAGE)) for _ in range(count))

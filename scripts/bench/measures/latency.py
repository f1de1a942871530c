"""Single operations: on each kind of mount, on plain FUSE served by pyfuse3's stock event loop, and on plain files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench, read_all, site_packages
from scripts.bench.figures import Figure
from scripts.bench.rounds import Turn, take_turns

_SERVED = "on plain FUSE each one is served by the daemon"
_WHAT = {
    "open and close": f"one file of known name, in a tight loop; {_SERVED}",
    "stat, first": "every file of Django on a fresh mount, sorted by path; a look-up each, and one for each directory on the way",
    "open, read 4k, close, first": f"500 of these files, whose names are known and whose pages are not; {_SERVED}",
    "listdir": f"a directory of 100 entries, listed before; {_SERVED}",
    "stat, again": "names and attributes are in the kernel's cache: the daemon is not asked",
    "read 4k, again": "of an open file whose pages are in the kernel's cache: the daemon is not asked",
}
_NATIVE = "Plain files have everything in the kernel's cache. Per operation, with what Python takes for the loop"

_FILES_READ = 500


def measure(bench: Bench) -> Iterator[Figure]:
    """On Django: many small files."""
    count = 500 if bench.is_quick else 3000
    with bench.scratch("latency") as folder:
        wheels = bench.wheels("django")
        native = bench.native(folder, wheels)
        store = bench.new_store(folder / "store")
        store.add("django", wheels)
        read_all([native, store.path])
        packages = site_packages(native)
        paths = sorted(str(path.relative_to(native)) for path in (packages / "django").rglob("*") if path.is_file())

        def on_mount(mounted: Callable[..., AbstractContextManager[object]]) -> Turn:
            def turn(number: int) -> Mapping[str, float]:
                with mounted("django", folder / "mount"):
                    return time_operations(folder / "mount", paths, count)

            return turn

        turns: dict[str, Turn] = {name: lambda number: time_operations(native, paths, count) for name in ("native", "native, again")}
        turns |= {way.name: on_mount(partial(store.mounted, way=way)) for way in store.ways("django", folder / "mount")}
        turns["casfs, plain FUSE, stock loop"] = on_mount(store.mounted_with_stock_loop)
        rounds = take_turns(bench.rounds, turns)
    for what, conditions in _WHAT.items():
        yield rounds.figure("latency", what, what, "s", f"{conditions}. {_NATIVE}")


def time_operations(environment: Path, paths: Sequence[str], count: int) -> dict[str, float]:
    """Seconds per operation, by the names of `_WHAT`. The order matters: what is first here must not have been seen before."""
    files = [str(environment / path) for path in paths]
    directory = str(next(Path(files[0]).parents[i] for i in range(9) if Path(files[0]).parents[i].name == "django") / "conf/locale")
    times = {"stat, first": _time_each(os.stat, files)}
    times["open, read 4k, close, first"] = _time_each(_read_start, files[:: max(1, len(files) // _FILES_READ)])
    os.listdir(directory)
    times["open and close"] = _time_each(_open_and_close, files[:1] * count)
    times["listdir"] = _time_each(os.listdir, [directory] * (count // 10))
    times["stat, again"] = _time_each(os.stat, files)
    fd = os.open(files[0], os.O_RDONLY)
    try:
        times["read 4k, again"] = _time_each(lambda _: os.pread(fd, 4096, 0), files[:1] * count)
    finally:
        os.close(fd)
    return times


def _time_each(operation: Callable[[str], object], arguments: Sequence[str]) -> float:
    began = time.perf_counter()
    for argument in arguments:
        operation(argument)
    return (time.perf_counter() - began) / len(arguments)


def _open_and_close(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY))


def _read_start(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.pread(fd, 4096, 0)
    os.close(fd)

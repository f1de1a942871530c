"""Single operations: on each kind of mount, on plain FUSE served by pyfuse3's stock event loop, and on plain files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench, site_packages
from scripts.bench.figures import Figure, quantile
from scripts.bench.rounds import Turn
from scripts.bench.stores import Mounted
from scripts.bench.ways import PLAIN

_SERVED = "on plain FUSE each one is served by the daemon"
_WHAT = {
    "open and close": f"one file of known name, in a tight loop; {_SERVED}",
    "stat, first": "every file of Django on a fresh mount, sorted by path; a look-up each, and one for each directory on the way",
    "open, read 4k, close, first": f"500 of these files, whose names are known and whose pages are not; {_SERVED}",
    "listdir": f"a directory of 100 entries, listed before; {_SERVED}",
    "stat, again": "names and attributes are in the kernel's cache: the daemon is not asked",
    "read 4k, again": "of an open file whose pages are in the kernel's cache: the daemon is not asked",
}
_NATIVE = "Plain files have everything in the kernel's cache. With what Python takes to call and to look at its clock, some 100 ns"
_KINDS = "what the daemon says of each kind of request (`casfs status --json`), of those above: its own work, not the kernel's"

_SHARES = {"p50": 0.5, "p99": 0.99}
_ALLOWED_S = 25
_DAEMON = "daemon: "
_OFTEN = 100
"""Requests, below which a p99 says nothing."""

_FILES_READ = 500


def measure(bench: Bench) -> Iterator[Figure]:
    """On Django: many small files."""
    count = 500 if bench.is_quick else 3000
    with bench.scratch("latency") as folder:
        native, store = bench.native("django"), bench.store("django")
        packages = site_packages(native)
        paths = sorted(str(path.relative_to(native)) for path in (packages / "django").rglob("*") if path.is_file())

        def on_mount(mounted: Callable[..., AbstractContextManager[Mounted]]) -> Turn:
            def turn(number: int) -> Mapping[str, float]:
                with mounted("django", folder / "mount") as mount:
                    return {**time_operations(folder / "mount", paths, count), **_daemon_says(mount)}

            return turn

        turns: dict[str, Turn] = {name: lambda number: time_operations(native, paths, count) for name in ("native", "native, again")}
        turns |= {way.name: on_mount(partial(store.mounted, way=way)) for way in bench.ways()}
        turns["casfs, plain FUSE, stock loop"] = on_mount(store.mounted_with_stock_loop)
        rounds = bench.take_turns(turns, _ALLOWED_S)
    for what, conditions in _WHAT.items():
        for share in _SHARES:
            yield rounds.figure("latency", f"{what}, {share}", f"{what}, {share}", "s", f"{conditions}. {_NATIVE}")
    for metric in sorted(metric for metric in rounds.values if metric.startswith(_DAEMON)):
        if names := [name for name in rounds.values[metric] if name.startswith(PLAIN.name)]:
            yield rounds.figure("latency", metric, metric, "s", _KINDS, names=names)


def _daemon_says(mount: Mounted) -> dict[str, float]:
    """Seconds by kind of request and share; none of a kind that was hardly asked for."""
    found = mount.store.status(mount.path)
    often = {kind: times for kind, times in found["latency_us"].items() if found["requests"].get(kind, 0) >= _OFTEN}
    return {
        f"{_DAEMON}{kind}, {share}": time_us / 1e6 for kind, times in often.items() for share, time_us in zip(_SHARES, times, strict=True)
    }


def time_operations(environment: Path, paths: Sequence[str], count: int) -> dict[str, float]:
    """Seconds of an operation, p50 and p99, by the names of `_WHAT`. Their order matters: what is first must not have been seen."""
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
    return {f"{what}, {name}": quantile(seconds, share) for what, seconds in times.items() for name, share in _SHARES.items()}


def _time_each(operation: Callable[[str], object], arguments: Sequence[str]) -> list[float]:
    seconds, now = [], time.perf_counter
    for argument in arguments:
        began = now()
        operation(argument)
        seconds.append(now() - began)
    return seconds


def _open_and_close(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY))


def _read_start(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.pread(fd, 4096, 0)
    os.close(fd)

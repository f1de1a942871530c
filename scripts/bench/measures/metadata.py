"""Metadata: find, ls, a storm of stats and grep over many small files."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.bench.bench import Bench, site_packages
from scripts.bench.figures import Figure
from scripts.bench.processes import run
from scripts.bench.rounds import Turn
from scripts.bench.ways import Way

_COMMANDS = {
    "find -ls": ("find", "-ls"),
    "ls -lR": ("ls", "-lR"),
    "grep -r": ("grep", "-r", "-c", "Casfs was not here"),
}
_STORM = "stat storm"
_STORMS = 5
_ALLOWED_S = 25

_OVERLAY = "plain overlayfs"
_SAID = f"{_OVERLAY}: the native files below an empty upper layer, without casfs: what overlays cost by themselves"

_FIRST = "on a mount that is new, with a daemon of its own. Blobs and plain files are in the page cache"
_WHAT = {
    "find -ls, first": _FIRST,
    "grep -r, first": f"{_FIRST}; names are known from the find before",
    **{f"{name}, again": "the same command once more on that mount" for name in _COMMANDS},
    _STORM: f"os.stat of every file, {_STORMS} times, as tools do that look for changes; all were seen before",
}


def measure(bench: Bench) -> Iterator[Figure]:
    """On Django: many small files; on a part of it if it must be quick."""
    with bench.scratch("metadata") as folder:
        native, store = bench.native("django"), bench.store("django")
        package = "django/contrib/admin" if bench.is_quick else "django"
        top = (site_packages(native) / package).relative_to(native)
        paths = sorted(str(path.relative_to(native)) for path in (native / top).rglob("*") if path.is_file())

        def on_mount(way: Way, number: int) -> Mapping[str, float]:
            with store.mounted("django", folder / "mount", way=way):
                return _time_all(bench, folder / "mount", top, paths)

        def on_overlay(number: int) -> Mapping[str, float]:
            with mounted_overlay(native, folder) as mountpoint:
                return _time_all(bench, mountpoint, top, paths)

        turns: dict[str, Turn] = {name: lambda number: _time_all(bench, native, top, paths) for name in ("native", "native, again")}
        if os.geteuid() == 0:
            turns[_OVERLAY] = on_overlay
        turns |= {way.name: partial(on_mount, way) for way in bench.ways()}
        rounds = bench.take_turns(turns, _ALLOWED_S)
    for what, conditions in _WHAT.items():
        yield rounds.figure("metadata", what, what, "s", f"{conditions}. Of {package}: {len(paths):,} files. {_SAID}")


@contextmanager
def mounted_overlay(lower: Path, folder: Path) -> Iterator[Path]:
    """An overlayfs of one folder below an empty one, for the length of a block; it takes root."""
    with TemporaryDirectory(dir=folder, prefix="overlay-") as parent:
        for name in ("upper", "work", "mount"):
            (Path(parent) / name).mkdir()
        options = f"lowerdir={os.path.relpath(lower, parent)},upperdir=upper,workdir=work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, "mount"], cwd=parent, check=True)
        try:
            yield Path(parent) / "mount"
        finally:
            subprocess.run(["umount", "mount"], cwd=parent, check=True)


def _time_all(bench: Bench, environment: Path, top: Path, paths: Sequence[str]) -> dict[str, float]:
    """The order matters: what is first here must not have been seen before."""
    times = {}
    for when in ("first", "again"):
        for name, command in _COMMANDS.items():
            times[f"{name}, {when}"] = _time_command(bench, environment / top, command)
    del times["ls -lR, first"]  # it is the second to look
    files = [str(environment / path) for path in paths] * _STORMS
    began = time.perf_counter()
    for file in files:
        os.stat(file)
    return {**times, _STORM: time.perf_counter() - began}


def _time_command(bench: Bench, directory: Path, command: Sequence[str]) -> float:
    name, *options = command
    words = [name, str(directory), *options] if name == "find" else [name, *options, str(directory)]
    return run(["sh", "-c", '"$@" || [ $? -eq 1 ]', "sh", *words], bench.env).seconds  # grep ends with 1 if it finds nothing

"""Disk: what the first, second and tenth environment of the same wheels add."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench
from scripts.bench.figures import Figure
from scripts.bench.processes import run
from scripts.bench.rounds import take_turns

_SHOWN = {1: "first", 2: "second", 10: "tenth"}
_QUICK_SHOWN = {1: "first", 2: "second"}

_CONDITIONS = (
    "blocks on disk that it adds, each inode counted once, to the environments and to the store (casfs) or the cache (uv). Nothing is"
    " compiled. Measured once: it is the same each time"
)
_INODES = "files, links and directories that it adds"

Grow = Callable[[int], object]


def measure(bench: Bench) -> Iterator[Figure]:
    """Environments of Django and numpy; if it must be quick, two of numpy."""
    names, shown = (["numpy"], _QUICK_SHOWN) if bench.is_quick else (["django", "numpy"], _SHOWN)
    with bench.scratch("disk") as folder:
        wheels = [wheel for name in names for wheel in bench.wheels(name)]
        growers = _growers(bench, folder, wheels)
        rounds = take_turns(1, {name: partial(_grow, path, grow, shown) for name, (path, grow) in growers.items()})
    what = " and ".join(names)
    for which in shown.values():
        yield rounds.figure("disk", f"bytes, {which}", f"{which} environment of {what}: bytes", "B", _CONDITIONS)
        yield rounds.figure("disk", f"inodes, {which}", f"{which} environment of {what}: inodes", "inodes", _INODES)


def _growers(bench: Bench, folder: Path, wheels: Sequence[str]) -> dict[str, tuple[Path, Grow]]:
    """By contender: the folder that it fills, and what makes one more environment there."""
    for name in ("casfs", "uv-hardlink", "uv-copy", "pip"):
        (folder / name).mkdir()
    store = bench.new_store(folder / "casfs" / "store")

    def uv(link_mode: str) -> tuple[Path, Grow]:
        path = folder / f"uv-{link_mode}"
        return path, lambda number: bench.uv_install(bench.new_venv(path / f"venv-{number}"), wheels, path / "cache", link_mode)

    def pip(number: int) -> None:  # without a pip of its own, which would count
        venv = bench.new_venv(folder / "pip" / f"venv-{number}")
        command = [bench.tools.peer_python, "-m", "pip", "--python", str(venv / "bin/python"), "install", "--no-deps", "--no-compile"]
        run([*command, *wheels], bench.env)

    return {
        "casfs": (folder / "casfs", lambda number: store.add(f"disk-{number}", wheels)),
        "uv, hard links": uv("hardlink"),
        "uv, copies": uv("copy"),
        "pip": (folder / "pip", pip),
    }


def _grow(path: Path, grow: Grow, shown: Mapping[int, str], _round: int) -> dict[str, float]:
    values: dict[str, float] = {}
    before = count_disk(path)
    for number in range(1, max(shown) + 1):
        grow(number)
        after = count_disk(path)
        if which := shown.get(number):
            values |= {f"bytes, {which}": float(after[0] - before[0]), f"inodes, {which}": float(after[1] - before[1])}
        before = after
    return values


def count_disk(top: Path) -> tuple[int, int]:
    """Bytes of the blocks below a folder, and how many inodes there are; one with several names counts once."""
    blocks: dict[tuple[int, int], int] = {}
    for directory, folders, files in os.walk(top):
        for name in (*folders, *files):
            found = os.lstat(os.path.join(directory, name))
            blocks[found.st_dev, found.st_ino] = found.st_blocks
    return 512 * sum(blocks.values()), len(blocks)

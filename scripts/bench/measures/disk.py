"""Disk: what the first, second and tenth environment of the same wheels add."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench
from scripts.bench.figures import Figure
from scripts.bench.peers import Peer, make_peers

_WHICH = {1: "first", 2: "second", 10: "tenth"}
_COUNTS, _QUICK_COUNTS = {"web": 10, "science": 2}, {"small": 2}

_BYTES = (
    "blocks on disk that it adds, each inode counted once, to the environments and to what is common to them: casfs's store, uv's cache,"
    " the farm's pool. casfs's and uvl-fuse's mounts have been ended. Measured once: it is the same each time"
)
_INODES = "files, links and directories that it adds; conditions as for bytes"


def measure(bench: Bench) -> Iterator[Figure]:
    """Ten environments of web, two of science; if it must be quick, two of small. Nobody has imported anything."""
    for work, count in (_QUICK_COUNTS if bench.is_quick else _COUNTS).items():
        with bench.scratch(f"disk-{work}") as folder:
            peers = make_peers(bench, folder)
            wheels = bench.wheels(work)
            rounds = bench.take_once({name: partial(_grow, peer, wheels, count) for name, peer in peers.items()})
        for which in [name for number, name in _WHICH.items() if number <= count]:
            yield rounds.figure("disk", f"bytes, {which}", f"{which} environment of {work}: bytes", "B", _BYTES)
            yield rounds.figure("disk", f"inodes, {which}", f"{which} environment of {work}: inodes", "inodes", _INODES)


def _grow(peer: Peer, wheels: Sequence[str], count: int, _round: int) -> dict[str, float]:
    """The first environment pays for what the host learns."""
    values: dict[str, float] = {}
    before = count_disk(peer.top)
    peer.learn(wheels)
    shutil.rmtree(peer.top / "first", ignore_errors=True)
    for number in range(1, count + 1):
        path = peer.top / f"environment-{number}"
        peer.make(path)
        peer.leave(path)
        after = count_disk(peer.top)
        if which := _WHICH.get(number):
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

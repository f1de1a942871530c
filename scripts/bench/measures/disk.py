"""Disk: what one more environment of the same wheels adds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench
from scripts.bench.figures import Figure
from scripts.bench.peers import Peer, peers_of
from scripts.bench.works import SLOW

_PEERS = ("casfs", "uv, hard links", "uv, hard links, --compile-bytecode", "uv, copies", "symlink farm", "pip", "uvl-fuse")

_BYTES = (
    "blocks on disk that one more environment adds, each inode counted once, to itself and to what is common to all: casfs's store, uv's"
    " cache, the farm's pool. Nobody has imported anything; casfs's and uvl-fuse's mounts have been ended. Counted once"
)
_INODES = "files, links and directories that it adds; conditions as for bytes"


def measure(bench: Bench) -> Iterator[Figure]:
    """Web and science; the small one if it must be quick."""
    works = ["small"] if bench.is_quick else ["web", "science"]
    for work in [*works, *(["deep"] if bench.is_large else [])]:
        peers = peers_of(bench, work, [name for name in _PEERS if name not in SLOW.get(work, ())])
        rounds = bench.take_once({name: partial(_take, bench, peer) for name, peer in peers.items()})
        yield rounds.figure("disk", "bytes", f"{work}: bytes of one more environment", "B", _BYTES)
        yield rounds.figure("disk", "inodes", f"{work}: inodes of one more environment", "inodes", _INODES)


def _take(bench: Bench, peer: Peer, number: int) -> dict[str, float]:
    """There was one before, when the peer got to know the wheels."""
    before = count_disk(peer.top)
    peer.make(peer.top / "more")
    peer.leave(peer.top / "more")
    after = count_disk(peer.top)
    bench.put_away(peer.top / "more")
    return {"bytes": float(after[0] - before[0]), "inodes": float(after[1] - before[1])}


def count_disk(top: Path) -> tuple[int, int]:
    """Bytes of the blocks below a folder, and how many inodes there are; one with several names counts once."""
    blocks: dict[tuple[int, int], int] = {}
    for directory, folders, files in os.walk(top):
        for name in (*folders, *files):
            found = os.lstat(os.path.join(directory, name))
            blocks[found.st_dev, found.st_ino] = found.st_blocks
    return 512 * sum(blocks.values()), len(blocks)

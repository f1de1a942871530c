"""From nothing to an interpreter that is ready, and to the first import done: casfs against what people use."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench, settle
from scripts.bench.figures import Figure
from scripts.bench.peers import Peer, peers_of
from scripts.bench.processes import run
from scripts.bench.rounds import Rounds, Turn
from scripts.bench.works import import_from

_ALLOWED_S = {"small": 15, "web": 30, "science": 45, "deep": 150}
_SLOW = {"web": ("uvl-fuse",), "science": ("pip", "uvl-fuse"), "deep": ("pip", "uvl-fuse")}
"""Contenders that have one turn with a work: in every round, they would take as long as everybody else together."""

_PEERS = ("casfs", "uv, hard links", "uv, hard links, --compile-bytecode", "symlink farm", "pip", "uvl-fuse")

_KNOWN = (
    "The host knows the wheels: they were added before to casfs's store and to uv's cache, pip has no cache of local wheels, the farm's are"
    " unpacked. All is in the page cache. casfs syncs what it writes to disk, the others do not"
)
_READY = (
    f"the commands that make an environment which is not there, and a first `python -c pass` in it. casfs: `add` and `mount`, which starts"
    f" the daemon. {_KNOWN}"
)
_IMPORTED = (
    "the same, and then a process that imports the work. pip and `--compile-bytecode` compile everything beforehand, casfs's pool has"
    " bytecode, which the first `casfs add` made; the others compile what the import needs, and write it where they can"
)


def measure(bench: Bench) -> Iterator[Figure]:
    """Small, web and science; the small one if it must be quick. Who is slow with a work has one turn."""
    works = ["small"] if bench.is_quick else ["small", "web", "science"]
    for work in [*works, *(["deep"] if bench.is_large else [])]:
        with bench.scratch(f"ready-{work}") as folder:
            peers = peers_of(bench, work, _PEERS)
            _take(bench, work, peers["uv, hard links"], folder / "before", 0)  # libraries write caches at home, such as of fonts
            slow = {name: peers.pop(name) for name in _SLOW.get(work, ()) if name in peers}
            yield from _figures(bench.take_turns(_turns(bench, work, peers, folder / "often"), _ALLOWED_S[work]), work, "")
            if slow:
                once = _turns(bench, work, {"casfs": peers["casfs"], **slow}, folder / "once")
                yield from _figures(bench.take_once(once), work, ", slow ones, once")


def _figures(rounds: Rounds, work: str, when: str) -> Iterator[Figure]:
    yield rounds.figure("ready", "ready", f"{work}: interpreter ready{when}", "s", _READY)
    yield rounds.figure("ready", "imported", f"{work}: first import done{when}", "s", _IMPORTED)


def _turns(bench: Bench, work: str, peers: Mapping[str, Peer], path: Path) -> dict[str, Turn]:
    return {name: partial(_take, bench, work, peer, path.with_name(f"{path.name}-{name[:3]}")) for name, peer in peers.items()}


def _take(bench: Bench, work: str, peer: Peer, path: Path, number: int) -> Mapping[str, float]:
    path = path.with_name(f"{path.name}-{number}")
    settle()
    made = peer.make(path)
    environment = peer.environment(path)
    ready = made + run([str(environment / "bin/python"), "-c", "pass"], bench.env).seconds
    imported = ready + import_from(environment, work, bench.env)
    peer.leave(path)
    shutil.rmtree(path)
    return {"ready": ready, "imported": imported}

"""From nothing to an interpreter that is ready, and to the first import done: casfs against what people use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench
from scripts.bench.figures import Figure
from scripts.bench.peers import Peer, peers_of
from scripts.bench.processes import run
from scripts.bench.rounds import Turn
from scripts.bench.works import IMPORTS, LEAST, SLOW, import_from

_PEERS = (
    "casfs",
    "casfs, daemon runs",
    "uv, hard links",
    "uv, hard links, --compile-bytecode",
    "symlink farm",
    "pip",
    "pip, --no-compile",
    "uvl-fuse",
)
_LEFT_OUT = {**SLOW, "web": ("pip, --no-compile",)}
_ALLOWED_S = {"small": 20, "web": 45, "science": 45, "deep": 120}

_KNOWN = (
    "The host knows the wheels: they were added before to casfs's store and to uv's cache, pip has no cache of local wheels, the farm's are"
    " unpacked. All is in the page cache, and nothing is dirty. casfs syncs what it writes to disk, the others do not"
)
_READY = (
    f"the commands that make an environment which is not there, and a first `python -c pass` in it. casfs: `add` and `mount`; as the first"
    f" one on a host, for which the daemon starts, or as one more (`daemon runs`). {_KNOWN}"
)
_IMPORTED = (
    "the same, and then a process that imports of the work: {imports}. pip and `--compile-bytecode` compile everything beforehand, casfs's"
    " pool has bytecode, which the first `casfs add` made; the others compile what the import needs, and write it where they can"
)


def measure(bench: Bench) -> Iterator[Figure]:
    """Small, web and science; the small one if it must be quick."""
    works = ["small"] if bench.is_quick else ["small", "web", "science"]
    for work in [*works, *(["deep"] if bench.is_large else [])]:
        with bench.scratch(f"ready-{work}") as folder:
            peers = peers_of(bench, work, [name for name in _PEERS if name not in _LEFT_OUT.get(work, ())])
            _take(bench, work, peers["uv, hard links"], folder / "before", 0)  # libraries write caches at home, such as of fonts
            turns: dict[str, Turn] = {
                name: partial(_take, bench, work, peer, folder / f"turn-{place}") for place, (name, peer) in enumerate(peers.items())
            }
            rounds = bench.take_turns(turns, _ALLOWED_S[work], LEAST.get(work))
        yield rounds.figure("ready", "ready", f"{work}: interpreter ready", "s", _READY)
        yield rounds.figure("ready", "imported", f"{work}: first import done", "s", _IMPORTED.format(imports=IMPORTS[work]))


def _take(bench: Bench, work: str, peer: Peer, path: Path, number: int) -> Mapping[str, float]:
    path = path.with_name(f"{path.name}-{number}")
    bench.settle()
    made = peer.make(path)
    environment = peer.environment(path)
    ready = made + run([str(environment / "bin/python"), "-c", "pass"], bench.env).seconds
    imported = ready + import_from(environment, work, bench.env)
    peer.leave(path)
    bench.put_away(path)
    return {"ready": ready, "imported": imported}

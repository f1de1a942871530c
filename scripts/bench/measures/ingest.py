"""Speed of ingest, against inflating and hashing the same wheels in memory: no reader of wheels can be faster than that."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from isal import isal_zlib

from scripts.bench.bench import Bench
from scripts.bench.figures import Figure
from scripts.bench.processes import run
from scripts.bench.rounds import Turn

_CONDITIONS = (
    "bytes of all members, unpacked, by the time. casfs: the whole command without bytecode, with all synced to disk, into a store"
    " that knows none of them."
    " Limit: ISA-L's inflate and SHA-256 of members that are in memory, without the start of Python. The wheels are in the page cache"
)
_ONE = "casfs is bound to one core (taskset), the limit has one thread"
_ALL = "The limit has a thread for each core"
_ALLOWED_S = 15


def measure(bench: Bench) -> Iterator[Figure]:
    """Django and numpy: many small files, and few large ones; only these if it must be quick."""
    for name in ("numpy",) if bench.is_quick else ("django", "numpy"):
        with bench.scratch(f"ingest-{name}") as folder:
            wheels = bench.wheels(name)
            rounds = bench.take_turns(_turns(bench, folder, wheels), _ALLOWED_S)
        for metric, said in {"speed on one core": _ONE, "speed": _ALL}.items():
            yield rounds.figure("ingest", metric, f"{name}, {metric}", "B/s", f"{_CONDITIONS}. {said}")


def _turns(bench: Bench, folder: Path, wheels: Sequence[str]) -> dict[str, Turn]:
    size = unpacked_size(wheels)
    core = min(os.sched_getaffinity(0))

    def casfs(number: int) -> Mapping[str, float]:
        seconds = {}
        for metric, prefix in {"speed": [], "speed on one core": ["taskset", "--cpu-list", str(core)]}.items():
            store = bench.new_store(folder / "store")
            bench.settle()
            seconds[metric] = run([*prefix, *store.words_of_add("first", wheels)], bench.env).seconds
            bench.put_away(store.path)
        return {metric: size / taken for metric, taken in seconds.items()}

    def limit(number: int) -> Mapping[str, float]:
        seconds = {"speed": _run_limit(bench, os.cpu_count() or 1, wheels), "speed on one core": _run_limit(bench, 1, wheels)}
        return {metric: size / taken for metric, taken in seconds.items()}

    return {"limit": limit, "casfs": casfs}


def _run_limit(bench: Bench, threads: int, wheels: Sequence[str]) -> float:
    env = {**bench.env, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    return float(json.loads(run([bench.tools.own_python, "-P", __file__, str(threads), *wheels], env).output))


def unpacked_size(wheels: Sequence[str]) -> int:
    """Bytes of all members."""
    size = 0
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            size += sum(info.file_size for info in archive.infolist())
    return size


def time_limit(threads: int, wheels: Sequence[str]) -> float:
    """Seconds that inflating and hashing take."""
    members = [member for wheel in wheels for member in read_members(wheel)]
    members.sort(key=lambda member: -len(member[1]))
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        shares = [members[first::threads] for first in range(threads)]
        list(pool.map(_inflate_and_hash, shares))
    return time.perf_counter() - began


def read_members(wheel: str) -> list[tuple[bool, bytes]]:
    """(is deflated, the bytes as they are in the archive) of each member."""
    members = []
    with zipfile.ZipFile(wheel) as archive, open(wheel, "rb") as file:
        for info in archive.infolist():
            file.seek(info.header_offset)
            header = file.read(30)
            file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), os.SEEK_CUR)
            members.append((info.compress_type == zipfile.ZIP_DEFLATED, file.read(info.compress_size)))
    return members


def _inflate_and_hash(members: Sequence[tuple[bool, bytes]]) -> None:
    for is_deflated, content in members:
        hashlib.sha256(isal_zlib.decompress(content, -15) if is_deflated else content).digest()


if __name__ == "__main__":  # in a process of its own: what a process has in memory marks those that it starts
    sys.stdout.write(json.dumps(time_limit(int(sys.argv[1]), sys.argv[2:])))

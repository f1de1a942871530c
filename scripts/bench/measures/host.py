"""One daemon for many mounts: what a further mount costs, in time and in memory, and how fast the daemon answers commands under load."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from scripts.bench.bench import Bench, read_all, site_packages
from scripts.bench.figures import Figure, quantile
from scripts.bench.processes import run
from scripts.bench.rounds import Turn
from scripts.bench.stores import PROGRAMS, WITHOUT_BYTECODE, Store, memory_of
from scripts.bench.synthetic import make_wheels
from scripts.bench.tools import say, without_bytecode

_COUNTS, _QUICK_COUNTS = (1, 50, 200), (1, 15)
_BY_FUSE = ("--data-path", "fuse")
_LATE = 100
_ASKS = 200
_BUSY_PACKAGES = 100

_INSIDE = "in a process that runs already, it includes no start of Python, no imports and no parser of arguments"
_MOUNTS = f"`casfs mount`, until the mount answers; nobody has looked into any. As a command it is a whole process; {_INSIDE}"
_FIRST = f"{_MOUNTS}. The first mount starts the daemon"
_SIZES = (
    "of the daemon's two processes, with so many environments mounted and `find -ls` run in each; each holds two small distributions."
    " Measured once"
)
_ASKED = (
    f"{_ASKS} times `status` over the control socket, 10 ms apart; a connection each. The mount is by FUSE, so that the daemon has work"
)


def measure(bench: Bench) -> Iterator[Figure]:
    """Of root's mounts only: those of others have a daemon each."""
    if os.geteuid() != 0:
        say("host: left out, for only root's mounts share a daemon")
        return
    counts = _QUICK_COUNTS if bench.is_quick else _COUNTS
    with bench.scratch("host") as folder:
        (folder / "wheels").mkdir()
        wheels = make_wheels(folder / "wheels", max(*counts, _BUSY_PACKAGES))
        store = bench.new_store(folder / "store")
        python = ("--python", bench.tools.python)
        names = [f"e{number:03}" for number in range(max(counts))]
        pairs = zip(names, wheels[1:] + wheels[:1], strict=False)
        store.run_inside([["--env", name, "add", *WITHOUT_BYTECODE, *python, wheels[0], wheel] for name, wheel in pairs])
        store.add("busy", wheels[:_BUSY_PACKAGES])
        read_all([store.path])
        yield from _measure_mounts(bench, store, folder, names)
        yield from _measure_sizes(bench, store, folder, names, counts)
        yield from _measure_answers(bench, store, folder)


def _measure_mounts(bench: Bench, store: Store, folder: Path, names: Sequence[str]) -> Iterator[Figure]:
    late = min(_LATE, len(names)) - 1

    def commands(number: int) -> Mapping[str, float]:
        first = store.mount(names[0], folder / names[0]).seconds
        store.run_inside([_mount(name, folder) for name in names[1:late]])
        then = store.mount(names[late], folder / names[late]).seconds
        store.umount_all()
        return {"first mount": first, f"mount number {late + 1}": then}

    def inside(number: int) -> Mapping[str, float]:
        seconds = store.run_inside([_mount(name, folder) for name in names[: late + 1]])
        store.umount_all()
        return {"first mount": seconds[0], f"mount number {late + 1}": seconds[late], f"all {late + 1} mounts": sum(seconds)}

    rounds = bench.take_turns({"casfs mount, a command": commands, "in a process": inside}, 15)
    for what in rounds.values:
        yield rounds.figure("host", what, what, "s", _FIRST if what == "first mount" else _MOUNTS)


def _measure_sizes(bench: Bench, store: Store, folder: Path, names: Sequence[str], counts: Sequence[int]) -> Iterator[Figure]:
    def sizes(*words: str) -> Turn:
        def turn(number: int) -> Mapping[str, float]:
            found: dict[str, float] = {}
            for before, count in itertools.pairwise((0, *counts)):
                store.run_inside([_mount(name, folder, *words) for name in names[before:count]])
                for name in names[before:count]:
                    run(["find", str(folder / name), "-ls"], bench.env)
                found |= dict(_sizes(store, folder / names[0], f"{count} mounted"))
            store.umount_all()
            return found

        return turn

    rounds = bench.take_once({"default data path": sizes(), "by FUSE": sizes(*_BY_FUSE)})
    for what in sorted(rounds.values, key=lambda name: ("RSS" in name, "worker" in name)):
        yield rounds.figure("host", what, what, "B", _SIZES)


def _sizes(store: Store, mountpoint: Path, when: str) -> Iterator[tuple[str, float]]:
    mount = store.status(mountpoint)
    for process in ("supervisor", "worker"):
        for name, size in zip(("RSS", "PSS"), memory_of(int(mount[process])), strict=True):
            yield f"{name} of the {process}, {when}", float(size)


def _measure_answers(bench: Bench, store: Store, folder: Path) -> Iterator[Figure]:
    mountpoint = folder / "mount"

    def answers(*kinds: str) -> Turn:
        def turn(number: int) -> Mapping[str, float]:
            with store.mounted("busy", mountpoint, *_BY_FUSE), _users(bench, mountpoint, kinds):
                seconds = store.run_program("ask", str(_ASKS))
            return {"answer, p50": quantile(seconds, 0.5), "answer, p99": quantile(seconds, 0.99), "answer, longest": max(seconds)}

        return turn

    rounds = bench.take_turns({"nobody else": answers(), "one hashes, one imports": answers("hash", "import")}, 15)
    for what in rounds.values:
        yield rounds.figure("host", what, what, "s", _ASKED)


@contextmanager
def _users(bench: Bench, mountpoint: Path, kinds: Sequence[str]) -> Iterator[None]:
    """Processes that use the mount for the length of a block."""
    targets = {"hash": site_packages(mountpoint), "import": mountpoint / "bin/python"}
    commands = [[bench.tools.own_python, "-P", PROGRAMS, kind, str(targets[kind])] for kind in kinds]
    env = without_bytecode(bench.env)
    users = [subprocess.Popen(command, env=env, cwd="/", start_new_session=True) for command in commands]
    try:
        yield
    finally:
        for user in users:
            os.killpg(user.pid, 9)
            user.wait()


def _mount(name: str, folder: Path, *words: str) -> list[str]:
    return ["--env", name, "mount", *words, str(folder / name)]

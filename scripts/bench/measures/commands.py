"""Commands of which most is a start: `casfs run` beside the command alone, and mounts beside a daemon that runs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.bench.bench import PRIMER, Bench, read_all
from scripts.bench.figures import Figure
from scripts.bench.processes import CommandFailed, run
from scripts.bench.rounds import Turn
from scripts.bench.stores import Store
from scripts.bench.synthetic import make_wheels
from scripts.bench.tools import say

_COUNTS, _QUICK_COUNTS = (1, 1000), (100,)
_ALLOWED_S, _LEAST = 12, 7
_STRANGER = 65534  # nobody, who owns no file

_RUN = (
    "`python -c pass` in an empty environment made by uv, and `casfs run -- python -c pass`. The goal is 100 ms more. Of a plain user:"
    f" user {_STRANGER} with a store in a home of their own; left out where they can't reach the interpreter or /dev/fuse"
)
_START = "a start of casfs, `casfs --version`, for comparison"
_MOUNTS = {
    "mount": f"the command `casfs mount` of an environment that is mounted nowhere: its image is written; the daemon runs; {_START}",
    "mount at a second place": f"the same where it is mounted already. The goal is 40 ms; the daemon runs; {_START}",
    "umount": f"the command `casfs umount` of the second place; the daemon goes on; {_START}",
}


def measure(bench: Bench) -> Iterator[Figure]:
    """`run`, and mounts of environments of one and of 1,000 small distributions; of 100 if it must be quick."""
    with bench.scratch("commands") as folder:
        store = bench.new_store(folder / "store")
        yield from _measure_run(bench, store, bench.new_venv(folder / "venv"))
        (folder / "wheels").mkdir()
        counts = _QUICK_COUNTS if bench.is_quick else _COUNTS
        wheels = make_wheels(folder / "wheels", max(counts))
        for count in counts:
            store.add(f"of-{count}", wheels[:count])
            with store.mounted(f"of-{count}", folder / "first"):
                pass  # what an image is made of is packed and kept
        read_all([store.path])
        with store.mounted(PRIMER, folder / "keeper"):
            for count in counts:
                yield from _measure_mounts(bench, store, count, folder)


@dataclass(frozen=True, slots=True)
class _Runner:
    """Who runs commands."""

    store: Store
    prefix: tuple[str, ...] = ()

    def take(self, *words: str) -> float:
        return run([*self.prefix, *words], self.store.env).seconds

    def take_run(self) -> float:
        words = ("--store", str(self.store.path), "--env", PRIMER, "run", "--", "python", "-c", "pass")
        return self.take(self.store.tools.casfs, *words)


def _measure_run(bench: Bench, store: Store, venv: Path) -> Iterator[Figure]:
    root = _Runner(store)
    turns: dict[str, Turn] = {
        "python": lambda _: {"run": root.take(str(venv / "bin/python"), "-c", "pass")},
        "casfs run": lambda _: {"run": root.take_run()},
    }
    with tempfile.TemporaryDirectory() as home:  # the benchmark's own folder may be below one that is closed to others
        if (stranger := _find_stranger(bench, Path(home))) is not None:
            turns["casfs run, plain user"] = lambda _: {"run": stranger.take_run()}
        yield bench.take_turns(turns, _ALLOWED_S, _LEAST).figure("commands", "run", "run -- python -c pass", "s", _RUN)


def _find_stranger(bench: Bench, home: Path) -> _Runner | None:
    """A plain user with a store, if there can be one here."""
    if os.geteuid() != 0:
        return None
    os.chown(home, _STRANGER, _STRANGER)
    store = Store(bench.tools, home / "store", {**bench.env, "HOME": str(home), "TMPDIR": str(home)})
    stranger = _Runner(store, ("setpriv", f"--reuid={_STRANGER}", f"--regid={_STRANGER}", "--clear-groups"))
    [wheel] = make_wheels(home, 1)
    try:
        stranger.take(*store.words_of_add(PRIMER, [wheel]))
        stranger.take_run()
    except CommandFailed as failure:
        say(f"a plain user's `casfs run` is left out: {failure}")
        return None
    return stranger


def _measure_mounts(bench: Bench, store: Store, count: int, folder: Path) -> Iterator[Figure]:
    turns: dict[str, Turn] = {
        "casfs": partial(_take_mounts, store, f"of-{count}", folder),
        "start": lambda _: dict.fromkeys(_MOUNTS, store.casfs("--version").seconds),
    }
    rounds = bench.take_turns(turns, _ALLOWED_S, _LEAST)
    size = f"{count:,} distribution{'s' if count > 1 else ''}"
    for what, conditions in _MOUNTS.items():
        yield rounds.figure("commands", what, f"{what}, {size}", "s", conditions)


def _take_mounts(store: Store, environment: str, folder: Path, number: int) -> Mapping[str, float]:
    first, second = folder / "first", folder / "second"
    seconds = {
        "mount": store.mount(environment, first).seconds,
        "mount at a second place": store.mount(environment, second).seconds,
        "umount": store.casfs("umount", str(second)).seconds,
    }
    store.casfs("umount", str(first))
    return seconds

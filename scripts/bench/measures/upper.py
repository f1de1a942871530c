"""The upper layer: what pip and uv write into a mount, and what of it `casfs absorb` leaves there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench
from scripts.bench.figures import Figure
from scripts.bench.measures.disk import count_disk
from scripts.bench.processes import Usage
from scripts.bench.rounds import Turn
from scripts.bench.stores import Store
from scripts.bench.tools import say
from scripts.bench.ways import IMAGE

_BLOCKS = "blocks on disk, each inode counted once"
_WHAT = {
    "installed": ("bytes after install", "B", f"{_BLOCKS}: what the tool added to the upper layer, or to the plain environment"),
    "absorbed": ("bytes after absorb", "B", f"{_BLOCKS}: what is left in the upper layer"),
    "pool": (
        "bytes in the store after absorb",
        "B",
        f"{_BLOCKS}: what the store has more than before the install, but for the upper layer",
    ),
    "install": (
        "time of the install",
        "s",
        "the tool's command, as it is by default: pip compiles bytecode, uv does not; uv's cache is warm",
    ),
    "absorb": ("time of absorb", "s", "the command `casfs absorb`, the environment being mounted; it compiles what it takes over"),
}
_WORK = "requests and what it needs, five wheels; without dependency resolution"

Install = Callable[[Path], Usage]
"""Installs into an environment."""


def measure(bench: Bench) -> Iterator[Figure]:
    """Installing requests into an environment that is new and empty."""
    with bench.scratch("upper") as folder:
        store = bench.new_store(folder / "store")
        if IMAGE not in bench.ways():
            say("upper: left out, for nobody can write into a mount here")
            return
        wheels = bench.wheels("small")
        installs: dict[str, Install] = {
            "pip": partial(_install_by_pip, bench, wheels),
            "uv": partial(_install_by_uv, bench, wheels, folder),
        }
        installs["uv"](bench.new_venv(folder / "first"))  # warms uv's cache
        turns: dict[str, Turn] = {
            f"{tool}, plain environment": partial(_take_plain, bench, folder, install) for tool, install in installs.items()
        }
        turns |= {f"{tool}, in a mount": partial(_take_mount, store, folder, tool, install) for tool, install in installs.items()}
        rounds = bench.take_turns(turns, 15)
    for metric, (what, unit, conditions) in _WHAT.items():
        yield rounds.figure("upper", metric, f"requests: {what}", unit, f"{conditions}. {_WORK}")


def _install_by_pip(bench: Bench, wheels: Sequence[str], environment: Path) -> Usage:
    """The environment needs no pip of its own, which would count."""
    return bench.pip_install(environment, wheels)


def _install_by_uv(bench: Bench, wheels: Sequence[str], folder: Path, environment: Path) -> Usage:
    """It makes hard links where it can, and copies in a mount, which is a file system of its own."""
    return bench.uv_install(environment, wheels, folder / "uv-cache", "hardlink")


def _take_plain(bench: Bench, folder: Path, install: Install, number: int) -> Mapping[str, float]:
    venv = bench.new_venv(folder / "plain")
    bench.settle()
    before = count_disk(venv)[0]
    usage = install(venv)
    values = {"installed": float(count_disk(venv)[0] - before), "install": usage.seconds}
    bench.put_away(venv)
    return values


def _take_mount(store: Store, folder: Path, tool: str, install: Install, number: int) -> Mapping[str, float]:
    environment = f"{tool}-{number}"
    upper = store.path / "environments" / environment / "upper"
    with store.mounted(environment, folder / "mount"):
        os.sync()
        store_before, upper_before = count_disk(store.path)[0], count_disk(upper)[0]
        installed = install(folder / "mount")
        upper_then = count_disk(upper)[0]
        absorbed = store.casfs("--env", environment, "absorb")
        upper_now, store_now = count_disk(upper)[0], count_disk(store.path)[0]
    return {
        "installed": float(upper_then - upper_before),
        "absorbed": float(upper_now - upper_before),
        "pool": float(store_now - upper_now - (store_before - upper_before)),
        "install": installed.seconds,
        "absorb": absorbed.seconds,
    }

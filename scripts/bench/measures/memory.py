"""Memory of the daemon: after mounting, after an import, after everything has been looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from scripts.bench.bench import Bench
from scripts.bench.figures import Figure
from scripts.bench.processes import run
from scripts.bench.rounds import Turn
from scripts.bench.stores import Mounted
from scripts.bench.tools import without_bytecode
from scripts.bench.ways import Way
from scripts.bench.works import import_from

_PSS = "their proportional set size: a page that they share with others counts in parts"
_RSS = "their resident set size"


def measure(bench: Bench) -> Iterator[Figure]:
    """With the wheels of science; if it must be quick, the small ones."""
    name = "small" if bench.is_quick else "science"
    with bench.scratch("memory") as folder:
        store = bench.store(name)
        env = without_bytecode(bench.env)

        def take(way: Way, number: int) -> Mapping[str, float]:
            with store.mounted(name, folder / "mount", way=way) as mounted:
                sizes = _sizes(mounted, "after mount")
                import_from(mounted.path, name, env)
                sizes |= _sizes(mounted, f"after import of {name}")
                run(["find", str(mounted.path), "-ls"], env)
                return sizes | _sizes(mounted, "after find")

        turns: dict[str, Turn] = {way.name: partial(take, way) for way in bench.ways()}
        rounds = bench.take_turns(turns, 15)
        for what in rounds.values:
            yield rounds.figure("memory", what, what, "B", f"of the two processes that serve the mount, {_PSS if 'PSS' in what else _RSS}")


def _sizes(mounted: Mounted, when: str) -> dict[str, float]:
    resident, proportional = mounted.memory()
    return {f"RSS {when}": float(resident), f"PSS {when}": float(proportional)}

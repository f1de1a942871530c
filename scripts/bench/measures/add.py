"""Adding a wheel that is known, and one that is new, against uv and pip: time and peak memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench
from scripts.bench.figures import Figure
from scripts.bench.processes import Usage
from scripts.bench.rounds import Rounds, Turn
from scripts.bench.works import LEAST

_KNOWN = (
    "into an environment made for it (casfs makes it within the time; uv and pip are given an empty one). The wheel is in the page cache"
    " and was added before: casfs's pool has it, uv's cache is warm; pip has no cache for a local wheel. casfs syncs to disk, the others"
    " do not"
)
_NEW = (
    "as above, but casfs's store and uv's cache, made for it, do not know the wheel. Dirty pages are written back before each turn;"
    " casfs ends with all of the wheel synced to disk, the others leave that to the kernel"
)


def measure(bench: Bench) -> Iterator[Figure]:
    """Few large files, many small ones, and a very large wheel."""
    works = {"numpy": 25.0} if bench.is_quick else {"django": 20.0, "numpy": 20.0}
    for work, allowed_s in {**works, **({"tensorflow": 60.0} if bench.is_large else {})}.items():
        with bench.scratch(f"add-{work}") as folder:
            [wheel] = bench.wheels(work)
            own = Path(shutil.copy2(wheel, folder))  # its times are changed below
            known = _known_turns(bench, folder, own, with_compilers=work == "django")
            yield from _figures(bench.take_turns(known, allowed_s, LEAST.get(work)), f"{work}, known", _KNOWN)
            if work != "django":  # see `ingest`
                new = _new_turns(bench, folder, own)
                yield from _figures(bench.take_turns(new, allowed_s, LEAST.get(work)), f"{work}, new", _NEW)


def _figures(rounds: Rounds, what: str, conditions: str) -> Iterator[Figure]:
    yield rounds.figure("add", "seconds", f"{what}: time", "s", conditions)
    yield rounds.figure("add", "peak", f"{what}: peak memory", "B", "the largest resident size of the process, in the same turns")


def _timed(bench: Bench, work: Callable[[], Usage]) -> Mapping[str, float]:
    bench.settle()
    usage = work()
    return {"seconds": usage.seconds, "peak": usage.peak}


def _known_turns(bench: Bench, folder: Path, wheel: Path, *, with_compilers: bool) -> dict[str, Turn]:
    """With those who compile, or without them: they take far longer than all others."""
    wheels = [str(wheel)]
    store = bench.new_store(folder / "store")
    store.add("first", wheels)
    compiled = bench.new_store(folder / "compiled")
    if with_compilers:
        compiled.add_by_default("first", wheels)
    cache = folder / "cache"
    bench.uv_install(bench.new_venv(folder / "first"), wheels, cache, "hardlink")

    def unchanged(number: int) -> Mapping[str, float]:
        return _timed(bench, lambda: store.add(f"unchanged-{number}", wheels))

    def touched(number: int) -> Mapping[str, float]:
        found = wheel.stat()
        os.utime(wheel)
        values = _timed(bench, lambda: store.add(f"touched-{number}", wheels))
        os.utime(wheel, ns=(found.st_atime_ns, found.st_mtime_ns))  # uv's cache goes by it
        store.add(f"again-{number}", wheels)  # and casfs gets to know the file as it was
        return values

    turns: dict[str, Turn] = {
        "casfs, file unchanged": unchanged,
        "casfs, file touched": touched,
        "uv, hard links": _uv_turn(bench, folder, wheels, cache, "hardlink"),
        "uv, copies": _uv_turn(bench, folder, wheels, cache, "copy"),
        "pip, --no-compile": _pip_turn(bench, folder, wheels, "--no-compile"),
    }
    if not with_compilers:
        return turns
    return turns | {
        "casfs, with bytecode": lambda number: _timed(bench, lambda: compiled.add_by_default(f"default-{number}", wheels)),
        "uv, hard links, --compile-bytecode": _uv_turn(bench, folder, wheels, cache, "hardlink", "--compile-bytecode"),
        "pip": _pip_turn(bench, folder, wheels),
    }


def _new_turns(bench: Bench, folder: Path, wheel: Path) -> dict[str, Turn]:
    wheels = [str(wheel)]

    def casfs(has_bytecode: bool, number: int) -> Mapping[str, float]:
        store = bench.new_store(folder / f"store-{number}")
        values = _timed(bench, lambda: (store.add_by_default if has_bytecode else store.add)("first", wheels))
        bench.put_away(store.path)
        return values

    def uv(words: tuple[str, ...], number: int) -> Mapping[str, float]:
        cache = folder / f"cache-{number}"
        values = _uv_turn(bench, folder, wheels, cache, "hardlink", *words)(number)
        bench.put_away(cache)
        return values

    turns: dict[str, Turn] = {
        "casfs, without bytecode": partial(casfs, False),
        "uv, hard links": partial(uv, ()),
        "pip, --no-compile": _pip_turn(bench, folder, wheels, "--no-compile"),
    }
    if bench.is_quick:
        return turns
    return turns | {
        "casfs, with bytecode": partial(casfs, True),
        "uv, hard links, --compile-bytecode": partial(uv, ("--compile-bytecode",)),
        "pip": _pip_turn(bench, folder, wheels),
    }


def _uv_turn(bench: Bench, folder: Path, wheels: list[str], cache: Path, link_mode: str, *words: str) -> Turn:
    def turn(number: int) -> Mapping[str, float]:
        venv = bench.new_venv(folder / "venv")
        values = _timed(bench, lambda: bench.uv_install(venv, wheels, cache, link_mode, *words))
        bench.put_away(venv)
        return values

    return turn


def _pip_turn(bench: Bench, folder: Path, wheels: list[str], *words: str) -> Turn:
    def turn(number: int) -> Mapping[str, float]:
        venv = bench.new_venv(folder / "venv")
        values = _timed(bench, lambda: bench.pip_install(venv, wheels, *words))
        bench.put_away(venv)
        return values

    return turn

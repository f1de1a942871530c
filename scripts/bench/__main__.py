"""The runner: takes the measures one after the other and prints what they found."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scripts.bench.bench import Bench
from scripts.bench.figures import Figure, Run, format_run
from scripts.bench.load import live_descendants, read_times
from scripts.bench.machine import describe_machine, describe_revision
from scripts.bench.measures import MEASURES
from scripts.bench.processes import adopting_orphans, end_descendants
from scripts.bench.rounds import Pace
from scripts.bench.stores import detach_below
from scripts.bench.table import format_markdown
from scripts.bench.tools import REPOSITORY, Tools, cache_folder, say
from scripts.bench.ways import EXPLAINED

_FULL, _QUICK = Pace(most=7, least=3), Pace(most=3, least=1, share=0.04)

_ENDING = (signal.SIGINT, signal.SIGTERM)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark; exit code 1 if a measure failed."""
    arguments = _build_parser().parse_args(argv)
    end_in_order()
    with adopting_orphans():
        run = _run(arguments)
    sys.exit(1 if run.failures else 0)


def end_in_order() -> None:
    """Clean up when told to end, and let nobody who repeats that, as timeout(1) does, disturb it."""

    def end(number: int, _frame: object) -> None:
        for other in _ENDING:
            signal.signal(other, signal.SIG_IGN)
        sys.exit(128 + number)

    for number in _ENDING:
        signal.signal(number, end)


def _run(arguments: argparse.Namespace) -> Run:
    cache = cache_folder()
    tools = Tools.install(cache)
    with working_folder(arguments.folder or cache) as folder:
        pace = _QUICK if arguments.quick else _FULL
        if arguments.rounds:
            pace = Pace(arguments.rounds, arguments.rounds)
        bench = Bench(folder, cache, tools, pace, arguments.quick, arguments.large)
        began = time.monotonic()
        machine = _describe(bench)
        figures, failures = _take_all(bench, arguments.only or list(MEASURES))
        run = Run({**machine, "took": f"{time.monotonic() - began:.0f} s"}, figures, failures)
        _write(run, arguments.json)
        return run


def _write(run: Run, json: Path | None) -> None:
    """Before the cleaning up, which takes its time."""
    sys.stdout.write(format_markdown(run))
    sys.stdout.flush()
    if json:
        json.write_text(format_run(run), encoding="utf-8")


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("scripts.bench", description="Measure casfs against pip, uv and plain files.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and less work: one to two minutes instead of ten to fifteen")
    parser.add_argument("--large", action="store_true", help="also tensorflow (a wheel of 274 MB and what it needs), in ten minutes more")
    parser.add_argument("--only", action="append", choices=list(MEASURES), help="only this measure; may be given more than once")
    parser.add_argument("--rounds", type=int, help="how often each contender has its turn, however long that takes")
    parser.add_argument("--folder", type=_absolute, help="work in a new folder below this one (default: the user's cache folder)")
    parser.add_argument("--json", type=_absolute, metavar="FILE", help="also write all values to FILE")
    return parser


def _absolute(path: str) -> Path:
    return Path(path).absolute()


@contextmanager
def working_folder(parent: Path) -> Iterator[Path]:
    """A new folder. At the end nothing is mounted there, nothing runs, and it is gone."""
    folder, others = Path(tempfile.mkdtemp(prefix="run-", dir=parent.resolve())), live_descendants()
    try:
        yield folder
    finally:
        _clean(folder, others)
        shutil.rmtree(folder)


def _clean(folder: Path, others: Collection[int] = ()) -> None:
    os.chdir("/")
    detach_below(folder)
    end_descendants(but=others)


def _describe(bench: Bench) -> dict[str, str]:
    rounds = f"{bench.pace.least} to {bench.pace.most}" if bench.pace.least < bench.pace.most else str(bench.pace.most)
    mode = f"{'quick' if bench.is_quick else 'full'}, {rounds} rounds"
    versions = bench.tools.versions()
    versions["casfs"] += f" ({describe_revision(REPOSITORY)})"
    return {**describe_machine(bench.folder), **versions, "mode": mode, "contenders": EXPLAINED}


def _take_all(bench: Bench, names: Sequence[str]) -> tuple[tuple[Figure, ...], tuple[str, ...]]:
    """All figures; a measure that fails costs its own figures only."""
    figures: list[Figure] = []
    failures = []
    for name in names:
        before = read_times()
        try:
            figures += MEASURES[name](bench)
        except Exception as error:  # noqa: BLE001  # shown, counted, and the next measure gets its turn
            traceback.print_exc()
            failures.append(f"{name}: {error}")
        finally:
            _clean(bench.folder)
        after = read_times()
        say(f"{name} took {after.now - before.now:.0f} s, and {after.own - before.own:.0f} s of the processor")
    return tuple(figures), tuple(failures)


if __name__ == "__main__":
    main()

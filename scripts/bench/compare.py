#!/usr/bin/env python3
"""What a change did: `scripts/bench/compare.py OLD.json NEW.json`.

The two runs were not interleaved, so a ratio here is one of medians, and only a difference that is larger than both spreads is called one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.bench.figures import Figure, Run, parse_run
from scripts.bench.table import format_digits, format_table, format_value

_HEADER = ("Measure", "Figure", "Contender", "Old", "New", "New / old", "Verdict")

_NEGLIGIBLE = 0.02
"""Memory differs by a thousandth from run to run, with hardly any spread within one."""


def compare(old: Run, new: Run) -> str:
    """Markdown: each figure that both runs have, what only one has, and what makes the comparison doubtful."""
    before = {_key(figure): figure for figure in old.figures}
    pairs = [(before[_key(figure)], figure) for figure in new.figures if _key(figure) in before]
    parts = [format_table(_HEADER, (row for was, now in pairs for row in _rows(was, now)))]
    missing = [f"- only in the {side} run: {', '.join(key)}" for side, key in _iter_unmatched(old, new)]
    changed = [f"- {name}: {was}; now {now}" for name, was, now in _iter_machine_changes(old, new)]
    parts += ["\n".join(missing)] if missing else []
    parts += ["The machine or a version differs:\n\n" + "\n".join(changed)] if changed else []
    return "\n\n".join(parts) + "\n"


def _key(figure: Figure) -> tuple[str, str, str]:
    return figure.measure, figure.what, figure.unit


def _rows(old: Figure, new: Figure) -> Iterator[tuple[str, ...]]:
    for contender in (name for name in new.values if name in old.values):
        was, now = old.spread(contender).median, new.spread(contender).median
        ratio = format_digits(now / was) if was else ""
        values = format_value(was, new.unit), format_value(now, new.unit)
        yield (new.measure, new.what, contender, *values, ratio, judge(old, new, contender))


def judge(old: Figure, new: Figure, contender: str) -> str:
    """better or worse; nothing if the spreads overlap or hardly differ; a question mark if others used the processor."""
    was, now = old.spread(contender), new.spread(contender)
    if was.overlaps(now) or abs(now.median - was.median) < _NEGLIGIBLE * was.median:
        return ""
    verdict = "better" if (now.median > was.median) == new.is_higher_better else "worse"
    return f"{verdict}?" if old.loaded_rounds or new.loaded_rounds else verdict


def _iter_unmatched(old: Run, new: Run) -> Iterator[tuple[str, tuple[str, str, str]]]:
    before, after = ([_key(figure) for figure in run.figures] for run in (old, new))
    yield from (("old", key) for key in before if key not in after)
    yield from (("new", key) for key in after if key not in before)


def _iter_machine_changes(old: Run, new: Run) -> Iterator[tuple[str, str, str]]:
    for name in sorted(old.machine.keys() | new.machine.keys()):
        was, now = old.machine.get(name, "unknown"), new.machine.get(name, "unknown")
        if was != now and name != "date":
            yield name, was, now


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description="Compare two runs of the benchmark.")
    parser.add_argument("old", type=Path, metavar="OLD.json")
    parser.add_argument("new", type=Path, metavar="NEW.json")
    arguments = parser.parse_args()
    runs = []
    for path in (arguments.old, arguments.new):
        try:
            runs.append(parse_run(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            parser.error(f"{path}: {error}")
    sys.stdout.write(compare(*runs))


if __name__ == "__main__":
    main()

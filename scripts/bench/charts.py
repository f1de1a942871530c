"""Charts: what of a run is drawn. Values only; `plots.py` draws them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from scripts.bench.figures import Figure, Run


@dataclass(frozen=True, slots=True)
class Bars:
    """Groups of bars: a value for each series in each group, or None."""

    name: str
    title: str
    axis: str
    groups: Sequence[str]
    series: Mapping[str, Sequence[float | None]]
    is_log: bool = False


def build_charts(run: Run) -> list[Bars]:
    """The main ratios; what the run lacks is left out."""
    return [chart for chart in (_ready(run), _imports(run)) if chart.series]


def _figures(run: Run, measure: str, pattern: str) -> Iterator[tuple[re.Match[str], Figure]]:
    for figure in run.figures:
        if figure.measure == measure and (match := re.fullmatch(pattern, figure.what)):
            yield match, figure


def _bars(run: Run, measure: str, pattern: str, *, is_ratio: bool = False) -> tuple[list[str], dict[str, list[float | None]]]:
    """Groups and series of medians, or of medians of ratios. Figures for which the pattern's first group is the same are one group."""
    found: dict[str, list[Figure]] = {}
    for match, figure in _figures(run, measure, pattern):
        found.setdefault(match[1], []).append(figure)
    contenders = dict.fromkeys(name for figures in found.values() for figure in figures for name in figure.values)
    series = {name: [_value(figures, name, is_ratio) for figures in found.values()] for name in contenders}
    return list(found), series


def _value(figures: Sequence[Figure], contender: str, is_ratio: bool) -> float | None:
    """Of the first figure that has the contender."""
    figure = next((figure for figure in figures if contender in figure.values), None)
    if figure is None or not is_ratio:
        return figure.spread(contender).median if figure else None
    ratio = figure.ratio(contender)
    return ratio.median if ratio else None


def _ready(run: Run) -> Bars:
    groups, series = _bars(run, "ready", r"(.*: (?:interpreter ready|first import done))")
    return Bars(
        "ready", "From nothing, wheels known to the host", "seconds", [name.replace(": ", ":\n") for name in groups], series, is_log=True
    )


def _imports(run: Run) -> Bars:
    groups, series = _bars(run, "imports", r"(.*, (?:first|again|cold))", is_ratio=True)
    return Bars("imports", "Import of a work, by the time that native files take", "ratio", groups, series)

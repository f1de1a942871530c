"""Headlines: what a run says for and against casfs, as sentences made of its figures alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scripts.bench.figures import Figure, Run, Spread
from scripts.bench.table import format_digits, format_value

_WORKS = ("web", "science", "small")
"""A headline is about the first of these that the run has."""

_OURS = ("casfs, daemon runs", "casfs", "casfs, image", "casfs, FUSE metadata", "casfs, plain FUSE")
"""By what casfs is represented in a figure: the first one that it has."""

_OTHERS = {
    "native": "native files",
    "native copies": "copies",
    "uv, hard links": "uv (hard links)",
    "uv, hard links, --compile-bytecode": "uv with `--compile-bytecode`",
    "uv, copies": "uv (copies)",
    "symlink farm": "a symlink farm",
    "pip": "pip",
    "pip, --no-compile": "pip with `--no-compile`",
    "uvl-fuse": "uvl-fuse",
}
"""The others, and how a sentence names them."""

_NAMED = ("uv, hard links", "uv, hard links, --compile-bytecode", "pip")

_BEHIND = ("ready", "add", "imports", "metadata", "reads", "disk")
"""Measures in which casfs has others beside it."""

_MOST = 4


def find_ours(figure: Figure) -> str | None:
    """The contender that represents casfs."""
    return next((name for name in _OURS if name in figure.values), None)


def build_headlines(run: Run) -> list[str]:
    """A few sentences; what the run lacks is left out."""
    return [*_doubts(run), *_ready(run), *_imports(run), *_sizes(run), *_behind(run)]


def _doubts(run: Run) -> Iterator[str]:
    """A run that others disturbed says so first."""
    times = [figure for figure in run.figures if figure.unit in ("s", "B/s")]
    if 2 * sum(bool(figure.loaded_rounds) for figure in times) > len(times):
        yield "Others used the processor during most of this run: don't trust its times."


def _find(run: Run, measure: str, what: str) -> Figure | None:
    return next((figure for figure in run.figures if (figure.measure, figure.what) == (measure, what)), None)


def _find_work(run: Run, measure: str, rest: str) -> Figure | None:
    """The figure of the work that says most."""
    return next((figure for work in _WORKS if (figure := _find(run, measure, f"{work}{rest}"))), None)


def _ready(run: Run) -> Iterator[str]:
    for rest, doing in {": interpreter ready": "is ready", ": first import done": "has done its first import"}.items():
        if figure := _find_work(run, "ready", rest):
            work = figure.what.partition(":")[0]
            yield f"One more environment of {work} {doing} after {_compare(figure, _NAMED, 'as long')}"


def _imports(run: Run) -> Iterator[str]:
    for work in _WORKS:
        warm, cold = _find(run, "imports", f"{work}, again"), _find(run, "imports", f"{work}, cold")
        if warm and (ours := find_ours(warm)) and (ratio := warm.ratio(ours)):
            also = f", by plain FUSE {_times(plain)}" if (plain := _ratio_of(warm, "casfs, plain FUSE")) else ""
            if cold and (ours := find_ours(cold)) and (slow := cold.ratio(ours)):
                also += f"; from cold caches {_times(slow)}"
            yield f"Importing {work} from a mount takes {_times(ratio)} as long as from native files{also}."
            return


def _ratio_of(figure: Figure, contender: str) -> Spread | None:
    return figure.ratio(contender) if contender in figure.values else None


def _sizes(run: Run) -> Iterator[str]:
    if figure := _find_work(run, "disk", ": bytes of one more environment"):
        work = figure.what.partition(":")[0]
        yield f"On disk, one more environment of {work} takes {_compare(figure, _NAMED, 'as much')}"
    if figure := _find(run, "sharing", "files, each further environment"):
        yield f"The page cache that it takes once it has imported numpy is {_compare(figure, tuple(_OTHERS), 'as much')}"


def _compare(figure: Figure, others: Sequence[str], unit: str) -> str:
    """Our value, and how many times that others have."""
    ours = find_ours(figure) or figure.reference
    ratios = {name: figure.ratio(name, ours) for name in others if name in figure.values}
    said = [f"{_OTHERS[name]} {_times(ratio)}" for name, ratio in ratios.items() if ratio]
    rest = f"; {', '.join(said)} {unit}" if said else ""
    return f"{format_value(figure.spread(ours).median, figure.unit)} with casfs{rest}."


def _times(ratio: Spread) -> str:
    low, high = format_digits(ratio.p10), format_digits(ratio.p90)
    return f"{format_digits(ratio.median)} times" + (f" ({low} to {high})" if low != high else "")


@dataclass(frozen=True, slots=True)
class _Gap:
    """How many times worse casfs is than the best of the others."""

    figure: Figure
    other: str
    ratio: Spread


def _behind(run: Run) -> Iterator[str]:
    """Where casfs is clearly worse, the worst first."""
    gaps = [gap for figure in run.figures if figure.measure in _BEHIND and (gap := _find_gap(figure))]
    gaps = sorted((gap for gap in gaps if gap.ratio.p10 > 1), key=lambda gap: -gap.ratio.median)[:_MOST]
    said = [f"{gap.figure.measure}, {gap.figure.what}: {_times(gap.ratio)} what it is with {_OTHERS[gap.other]}" for gap in gaps]
    if said:
        yield f"Where casfs is furthest behind the best of the others: {'; '.join(said)}."


def _find_gap(figure: Figure) -> _Gap | None:
    """None where casfs is the best, or alone."""
    ours, others = find_ours(figure), [name for name in figure.values if name in _OTHERS]
    if ours is None or not others:
        return None
    pick = max if figure.is_higher_better else min
    best = pick(others, key=lambda name: figure.spread(name).median)
    ratio = figure.ratio(best, ours) if figure.is_higher_better else figure.ratio(ours, best)
    return _Gap(figure, best, ratio) if ratio else None

"""A run as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from scripts.bench.figures import Figure, Run, Spread

_LOADED = "†"


def format_markdown(run: Run) -> str:
    """The machine, a table for each measure, and what each figure includes."""
    parts = ["# casfs benchmark", "\n".join(f"- {name}: {value}" for name, value in run.machine.items())]
    parts.append(
        "A ratio is to the first contender of the same figure, in the same round; its median and spread are those of all rounds that both"
        " have. Contenders whose turn takes long have fewer rounds, spread over those of the others."
    )
    for measure, figures in groupby(run.figures, key=lambda figure: figure.measure):
        parts.append(format_measure(measure, list(figures)))
    if any(figure.loaded_rounds for figure in run.figures):
        parts.append(f"{_LOADED} others used the processor during some of the rounds: don't trust this figure.")
    parts += [f"**Failed:** {failure}" for failure in run.failures]
    return "\n\n".join(parts) + "\n"


def format_measure(measure: str, figures: Sequence[Figure]) -> str:
    """One measure: its table and its conditions."""
    header = ("Figure", "Rounds", "Contender", "Median", "p10 to p90", "Ratio", "p10 to p90")
    table = format_table(header, (row for figure in figures for row in _rows(figure)))
    return "\n\n".join((f"## {measure}", table, "\n".join(_iter_conditions(figures))))


def _iter_conditions(figures: Iterable[Figure]) -> Iterator[str]:
    """One line for each condition, with the figures that share it."""
    shared: dict[str, list[str]] = {}
    for figure in figures:
        shared.setdefault(figure.conditions, []).append(figure.what)
    return (f"- {'; '.join(names)}: {conditions}" for conditions, names in shared.items())


def _rows(figure: Figure) -> Iterator[tuple[str, ...]]:
    for number, contender in enumerate(figure.values):
        spread = figure.spread(contender)
        mark = f" {_LOADED}{len(figure.loaded_rounds)}" if figure.loaded_rounds else ""
        what = f"{figure.what}{mark}" if not number else ""
        yield (
            what,
            str(len(figure.values[contender])),
            contender,
            format_value(spread.median, figure.unit),
            _format_range(spread, figure.unit),
            *_ratio_cells(figure, contender),
        )


def _format_range(spread: Spread, unit: str | None = None) -> str:
    """Nothing if there is no spread. `unit`: None for a ratio."""
    low, high = (format_digits(value) if unit is None else format_value(value, unit) for value in (spread.p10, spread.p90))
    return f"{low} to {high}" if low != high else ""


def _ratio_cells(figure: Figure, contender: str) -> tuple[str, str]:
    """How many times the reference's value, and the spread of that."""
    ratio = figure.ratio(contender)
    if ratio is None:
        return "", ""
    if contender == figure.reference:
        return "1", ""
    return format_digits(ratio.median), _format_range(ratio)


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns also line up as plain text."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def format_digits(value: float) -> str:
    """Three significant digits without an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{float(f'{value:.3g}'):.6f}".rstrip("0").rstrip(".") if value else "0"


_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))


def format_value(value: float, unit: str) -> str:
    """A value with a unit of handy size."""
    if unit == "s":
        return _scale(value, _TIMES)
    if unit in ("B", "B/s"):
        return _scale(value, _SIZES) + unit[1:]
    return f"{format_digits(value)} {unit}"


def _scale(value: float, scales: Sequence[tuple[float, str]]) -> str:
    size, name = next((scale for scale in scales if abs(value) >= scale[0]), scales[-1])
    return f"{format_digits(value / size)} {name}"

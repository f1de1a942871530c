"""The report: `python -m scripts.bench.report RUN.json` puts a run's sentences and one plot into README, and all of it into `results/`."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.bench.charts import Bars, build_charts
from scripts.bench.figures import Figure, Run, format_run, parse_run
from scripts.bench.headlines import build_headlines
from scripts.bench.table import format_digits, format_markdown, format_table, format_value
from scripts.bench.tools import REPOSITORY, Tools, cache_folder, make_venv
from scripts.bench.works import IMPORTS

RESULTS = Path(__file__).with_name("results")
BEGIN, END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"

_RESULTS_PATH = RESULTS.relative_to(REPOSITORY)
_PLOTS = str(Path(__file__).with_name("plots.py"))
_PLOTTER = "matplotlib>=3.10"

_NOTE = (
    "Medians; in the table's brackets how many times casfs's value, and the rounds if they are fewer than casfs's; in those of the"
    " sentences p10 to p90. † others used the processor meanwhile. casfs: what root gets by default. *small* is requests, *web* django,"
    " fastapi, flask, sqlalchemy and boto3, *science* numpy, pandas, scipy, scikit-learn, matplotlib and sympy, *deep* tensorflow, with"
    " what each needs."
)
_TITLES = {"imports": "import", "sharing": "page cache", "reads": "reading"}


@dataclass(frozen=True, slots=True)
class _Section:
    """A table: a row for each figure whose name begins so, a column for each of the contenders that the run has."""

    title: str
    measure: str
    beginnings: Sequence[str]
    contenders: Sequence[str] = ()
    """All, if there are none."""


_COLUMNS = {
    "casfs": ("casfs", "casfs, image", "casfs, FUSE metadata", "casfs, plain FUSE"),
    "casfs, daemon runs": ("casfs, daemon runs",),
    "native files": ("native", "native copies"),
    "uv, hard links": ("uv, hard links",),
    "uv, --compile-bytecode": ("uv, hard links, --compile-bytecode",),
    "symlink farm": ("symlink farm",),
    "pip": ("pip",),
    "pip, --no-compile": ("pip, --no-compile",),
    "uvl-fuse": ("uvl-fuse",),
}
"""Of the main table: whom a column shows, the first that a figure has."""

_MAIN = (
    ("ready", r".*"),
    ("imports", r".*, (first|again|cold)"),
    ("disk", r".*: bytes of .*"),
    ("sharing", r"files, each .*"),
    ("metadata", r"find -ls, first|stat storm"),
    ("reads", r".*, cold"),
)
"""The main table's rows: measures, and patterns of figures."""

_IMPORTED = [f"{work}, {when}" for work in IMPORTS for when in ("first", "again", "cold")]
_WAYS = (
    "native",
    "plain overlayfs",
    "uv, hard links",
    "symlink farm",
    "casfs, image",
    "casfs, FUSE metadata",
    "casfs, plain FUSE",
    "uvl-fuse",
)

_SECTIONS = (
    _Section("Importing, a whole process", "imports", _IMPORTED, _WAYS),
    _Section("Disk", "disk", ("",)),
    _Section("Memory: page cache that one more environment takes", "sharing", ("files, each",)),
    _Section("Memory of the daemon", "memory", ("",)),
    _Section("Mount, swap, unmount", "mounting", ("mount, 1", "rollback, 1", "umount, 1")),
    _Section("Commands that are mostly a start", "commands", ("",)),
    _Section("Metadata of the many files of Django", "metadata", ("",), _WAYS),
    _Section("Reading one large file", "reads", ("",), _WAYS),
    _Section("Adding a wheel", "add", ("",)),
    _Section("Ingest, unpacked bytes", "ingest", ("",)),
    _Section("Growth of the pool", "growth", ("",)),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Write README's section and the results."""
    parser = argparse.ArgumentParser("scripts.bench.report", description="Put a run of the benchmark into README.")
    parser.add_argument("run", type=Path, metavar="RUN.json")
    path = parser.parse_args(argv).run
    try:
        run = parse_run(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"{path}: {error}")
    charts = build_charts(run)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "run.json").write_text(format_run(run), encoding="utf-8")
    (RESULTS / "run.md").write_text(format_markdown(run), encoding="utf-8")
    (RESULTS / "tables.md").write_text(format_tables(run, charts), encoding="utf-8")
    draw_charts(charts, RESULTS)
    readme = REPOSITORY / "README.md"
    readme.write_text(replace_section(readme.read_text(encoding="utf-8"), format_section(run, charts)), encoding="utf-8")


def draw_charts(charts: Sequence[Bars], folder: Path) -> None:
    """Write one SVG for each chart, and remove those of charts that are no more."""
    for path in folder.glob("*.svg"):
        path.unlink()
    python = make_venv(Tools.base_python(), cache_folder() / "plotter", _PLOTTER) / "bin/python"
    given = json.dumps([asdict(chart) for chart in charts])
    subprocess.run([str(python), "-I", _PLOTS, str(folder)], input=given, text=True, check=True)


def replace_section(readme: str, section: str) -> str:
    """README with another text between the marks. Raises ValueError where they are not."""
    before, found, rest = readme.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found and found_end):
        raise ValueError(f"there is no {BEGIN} with a {END} after it")
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def format_section(run: Run, charts: Sequence[Bars]) -> str:
    """What a machine makes of the run in sentences, and the first plot."""
    said = "\n".join(f"- {sentence}" for sentence in build_headlines(run))
    pictures = [f"![{chart.title}]({_RESULTS_PATH}/{chart.name}.svg)" for chart in charts[:1]]
    rest = f"[All tables]({_RESULTS_PATH}/tables.md), and [the whole run]({_RESULTS_PATH}/run.md) with what each figure includes."
    return "\n\n".join(filter(None, [said, *pictures, rest]))


def format_tables(run: Run, charts: Sequence[Bars]) -> str:
    """The main table, a table for each measure, and the other plots."""
    pictures = [f"![{chart.title}]({chart.name}.svg)" for chart in charts[1:]]
    sections = [f"## {section.title}\n\n{table}" for section in _SECTIONS if (table := _format_table(run, section))]
    parts = ["# Benchmark", _format_circumstances(run), format_main_table(run), _NOTE, *pictures, *sections]
    return "\n\n".join(filter(None, parts)) + "\n"


def _format_circumstances(run: Run) -> str:
    machine = ", ".join(run.machine[name] for name in ("processor", "memory", "kernel", "file system") if name in run.machine)
    versions = ", ".join(f"{name} {run.machine[name]}" for name in ("casfs", "python", "pip", "uv", "uvl-fuse") if name in run.machine)
    when = f"Run of {run.machine.get('date', 'unknown date')} ({run.machine.get('mode', '')}) on {machine}; {versions}."
    return f"{when} Medians; in brackets the ratio to the first column, and the rounds if they are fewer than the first column's."


def format_main_table(run: Run) -> str:
    """A column for each kind of contender; all ratios are to casfs."""
    figures = [
        figure for measure, pattern in _MAIN for figure in run.figures if figure.measure == measure and re.fullmatch(pattern, figure.what)
    ]
    columns = [column for column in _COLUMNS if any(_pick(figure, column) for figure in figures)]
    return format_table(("", *columns), (_main_row(figure, columns) for figure in figures)) if columns else ""


def _main_row(figure: Figure, columns: Sequence[str]) -> tuple[str, ...]:
    names, ours = [_pick(figure, column) for column in columns], _pick(figure, "casfs") or ""
    what = figure.what if figure.measure in ("ready", "disk", "metadata") else f"{_TITLES[figure.measure]}: {figure.what}"
    return _mark(figure, what), *(_cell(figure, name, ours) if name else "" for name in names)


def _pick(figure: Figure, column: str) -> str | None:
    return next((name for name in _COLUMNS[column] if name in figure.values), None)


def _format_table(run: Run, section: _Section) -> str:
    """Empty if the run has none of it."""
    beginnings = tuple(section.beginnings)
    figures = [figure for figure in run.figures if figure.measure == section.measure and figure.what.startswith(beginnings)]
    present = dict.fromkeys(name for figure in figures for name in figure.values)
    columns = [name for name in (section.contenders or present) if name in present]
    return format_table(("", *columns), (_row(figure, columns) for figure in figures)) if columns else ""


def _row(figure: Figure, columns: Sequence[str]) -> tuple[str, ...]:
    cells = (_cell(figure, name, figure.reference) if name in figure.values else "" for name in columns)
    return _mark(figure, figure.what), *cells


def _mark(figure: Figure, what: str) -> str:
    return f"{what} †" if figure.loaded_rounds else what


def _cell(figure: Figure, name: str, reference: str) -> str:
    """The median, how many times the reference's it is, and the rounds, if they are fewer than the reference's."""
    ratio = figure.ratio(name, reference) if name != reference and reference else None
    rounds = len(figure.values[name])
    notes = [format_digits(ratio.median)] if ratio else []
    notes += [f"{rounds} round{'s' if rounds > 1 else ''}"] if reference and rounds < len(figure.values[reference]) else []
    value = format_value(figure.spread(name).median, figure.unit)
    return f"{value} ({'; '.join(notes)})" if notes else value


if __name__ == "__main__":
    main(sys.argv[1:])

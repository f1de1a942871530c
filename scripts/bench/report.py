"""The report: `python -m scripts.bench.report RUN.json` puts a run's main figures and plots into README, and all of it into `results/`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.bench.charts import Chart, build_charts
from scripts.bench.figures import Figure, Run, format_run, parse_run
from scripts.bench.table import format_digits, format_markdown, format_table, format_value
from scripts.bench.tools import REPOSITORY, Tools, cache_folder, make_venv

RESULTS = Path(__file__).with_name("results")
BEGIN, END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"

_RESULTS_PATH = RESULTS.relative_to(REPOSITORY)
_PLOTS = str(Path(__file__).with_name("plots.py"))
_PLOTTER = "matplotlib>=3.10"


@dataclass(frozen=True, slots=True)
class _Section:
    """A table of README: a row for each figure whose name begins so, a column for each of the contenders that the run has."""

    title: str
    measure: str
    beginnings: Sequence[str]
    contenders: Sequence[str] = ()
    """All, if there are none."""


_WAYS = ("native", "uv, hard links", "symlink farm", "casfs, twins", "casfs, FUSE metadata", "casfs, plain FUSE", "uvl-fuse")

_IMPORTED = [f"{work}, {when}" for work in ("web", "science", "deep") for when in ("first", "again", "cold")]

_SECTIONS = (
    _Section("From nothing; the host knows the wheels", "ready", ("",)),
    _Section("Importing, a whole process", "imports", _IMPORTED, _WAYS),
    _Section("Disk", "disk", ("",)),
    _Section("Memory: page cache that one more environment takes", "sharing", ("files, each",)),
    _Section("Mount, swap, unmount", "mounting", ("mount, 1", "rollback, 1", "umount, 1")),
    _Section("Metadata of the many files of Django", "metadata", ("",), _WAYS),
    _Section("Reading one large file", "reads", ("",), _WAYS),
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
    draw_charts(charts, RESULTS)
    readme = REPOSITORY / "README.md"
    pictures = [(chart.title, f"{_RESULTS_PATH}/{chart.name}.svg") for chart in charts]
    readme.write_text(replace_section(readme.read_text(encoding="utf-8"), format_section(run, pictures)), encoding="utf-8")


def draw_charts(charts: Sequence[Chart], folder: Path) -> None:
    """Write one SVG for each chart, and remove those of charts that are no more."""
    for path in folder.glob("*.svg"):
        path.unlink()
    python = make_venv(Tools.base_python(), cache_folder() / "plotter", _PLOTTER) / "bin/python"
    given = json.dumps([[type(chart).__name__, asdict(chart)] for chart in charts])
    subprocess.run([str(python), "-I", _PLOTS, str(folder)], input=given, text=True, check=True)


def replace_section(readme: str, section: str) -> str:
    """README with another text between the marks. Raises ValueError where they are not."""
    before, found, rest = readme.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found and found_end):
        raise ValueError(f"there is no {BEGIN} with a {END} after it")
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def format_section(run: Run, pictures: Sequence[tuple[str, str]]) -> str:
    """Date and machine, then a table for each section, then the plots."""
    machine = ", ".join(run.machine[name] for name in ("processor", "memory", "kernel", "file system") if name in run.machine)
    versions = ", ".join(f"{name} {run.machine[name]}" for name in ("casfs", "python", "pip", "uv", "uvl-fuse") if name in run.machine)
    parts = [f"Run of {run.machine.get('date', 'unknown date')} ({run.machine.get('mode', '')}) on {machine}; {versions}."]
    parts.append("Medians, and in brackets the ratio to the first column. † others used the processor meanwhile.")
    parts += [f"**{section.title}**\n\n{table}" for section in _SECTIONS if (table := _format_table(run, section))]
    parts += [f"![{title}]({path})" for title, path in pictures]
    parts.append(f"[The whole run]({_RESULTS_PATH}/run.md), with what each figure includes.")
    return "\n\n".join(parts)


def _format_table(run: Run, section: _Section) -> str:
    """Empty if the run has none of it."""
    beginnings = tuple(section.beginnings)
    figures = [figure for figure in run.figures if figure.measure == section.measure and figure.what.startswith(beginnings)]
    present = dict.fromkeys(name for figure in figures for name in figure.values)
    columns = [name for name in (section.contenders or present) if name in present]
    return format_table(("", *columns), (_row(figure, columns) for figure in figures)) if columns else ""


def _row(figure: Figure, columns: Sequence[str]) -> tuple[str, ...]:
    mark = " †" if figure.loaded_rounds else ""
    return f"{figure.what}{mark}", *_cells(figure, columns)


def _cells(figure: Figure, columns: Sequence[str]) -> Iterator[str]:
    for name in columns:
        if name not in figure.values:
            yield ""
            continue
        value = format_value(figure.spread(name).median, figure.unit)
        ratio = figure.ratio(name)
        yield value if ratio is None or name == figure.reference else f"{value} ({format_digits(ratio.median)})"


if __name__ == "__main__":
    main(sys.argv[1:])

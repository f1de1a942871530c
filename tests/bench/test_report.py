from __future__ import annotations

from pathlib import Path

import pytest

from scripts.bench.charts import Bars, build_charts
from scripts.bench.figures import Figure, Run
from scripts.bench.report import BEGIN, END, draw_charts, format_main_table, format_section, format_tables, replace_section
from scripts.bench.tools import REPOSITORY

RUN = Run(
    {"date": "2026-01-01T00:00+00:00", "processor": "abacus, 2 cores", "mode": "full, 7 rounds"},
    (
        Figure("ready", "small: interpreter ready", "s", "", {"casfs": [1.0, 1.0], "pip": [4.0, 6.0]}, loaded_rounds=(1,)),
        Figure("ready", "web: interpreter ready", "s", "", {"casfs": [2.0, 2.0], "uvl-fuse": [1.0, 1.0], "pip": [7.0]}, taken={"pip": [0]}),
        Figure("imports", "web, again", "s", "", {"native": [2.0], "casfs, image": [3.0]}),
        Figure("imports", "web, requests of the first import, casfs, image", "requests", "", {"all": [3.0]}, has_ratios=False),
        Figure("mounting", "mount, 1 distribution", "s", "", {"casfs, image": [0.1]}),
        Figure("mounting", "mount, 1,000 distributions", "s", "", {"casfs, image": [0.3]}),
        Figure("growth", "add, time", "s", "", {"1,000 blobs": [0.1], "10,000 blobs": [0.2]}),
    ),
)


def chart(name: str) -> Bars:
    return next(chart for chart in build_charts(RUN) if chart.name == name)


def test_a_contender_without_a_figure_has_no_bar_there():
    bars = chart("ready")
    assert list(bars.groups) == ["small:\ninterpreter ready", "web:\ninterpreter ready"]
    assert bars.series == {"casfs": [1.0, 2.0], "pip": [5.0, 7.0], "uvl-fuse": [None, 1.0]}


def test_imports_are_drawn_as_ratios():
    bars = chart("imports")
    assert bars.series == {"native": [1.0], "casfs, image": [1.5]}


def test_what_a_run_lacks_is_not_drawn():
    assert build_charts(Run({}, ())) == []


def test_the_section_tells_date_machine_medians_ratios_and_load():
    text = format_tables(RUN, build_charts(RUN))
    assert "2026-01-01T00:00+00:00 (full, 7 rounds) on abacus, 2 cores" in text
    assert "| small: interpreter ready † | 1 s | | 5 s (5) | |" in " ".join(text.split())
    assert "(imports.svg)" in text
    assert "requests of the first import" not in text


def test_a_newcomer_meets_sentences_then_one_plot_and_no_table():
    text = format_section(RUN, build_charts(RUN))
    marks = ("One more environment of web", "/ready.svg)", "/tables.md)", "/run.md)")
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)
    assert (text.count("!["), text.count("|")) == (1, 0)


def test_fewer_rounds_are_told_beside_the_value():
    assert "7 s (3.5; 1 round)" in format_main_table(RUN)


def test_ratios_of_the_main_table_are_to_casfs():
    row = next(line for line in format_main_table(RUN).splitlines() if "import: web, again" in line)
    assert "3 s" in row
    assert "2 s (0.667)" in row


def test_only_what_is_between_the_marks_is_replaced():
    readme = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = replace_section(readme, "new")
    assert once == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert replace_section(once, "new") == once


def test_readme_has_a_place_for_the_section():
    text = (REPOSITORY / "README.md").read_text()
    assert replace_section(text, "a section").count("a section") == 1


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END} {BEGIN}"])
def test_marks_that_are_missing_are_told(text: str):
    with pytest.raises(ValueError, match="there is no"):
        replace_section(text, "new")


@pytest.mark.network
@pytest.mark.long
def test_charts_are_drawn_the_same_each_time(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        draw_charts(build_charts(RUN), folder)
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert one == two
    assert one.keys() == {f"{chart.name}.svg" for chart in build_charts(RUN)}
    assert b"casfs, image" in one["imports.svg"]

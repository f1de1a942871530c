from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import scripts.bench.compare
from scripts.bench.compare import compare, judge
from scripts.bench.figures import Figure, Run, format_run


def make_figure(values: list[float], what: str = "numpy", unit: str = "s", loaded: tuple[int, ...] = ()) -> Figure:
    return Figure("add", what, unit, "", {"casfs": values}, loaded_rounds=loaded)


SLOW, FAST, NEAR = [10.0, 11.0, 12.0], [1.0, 1.1, 1.2], [11.5, 12.5, 13.5]


@pytest.mark.parametrize(
    ("old", "new", "unit", "expected"),
    [
        (SLOW, FAST, "s", "better"),
        (FAST, SLOW, "s", "worse"),
        (SLOW, FAST, "B/s", "worse"),
        (FAST, SLOW, "B/s", "better"),
        (SLOW, NEAR, "s", ""),
    ],
)
def test_only_what_both_spreads_allow_is_called_a_difference(old: list[float], new: list[float], unit: str, expected: str):
    assert judge(make_figure(old, unit=unit), make_figure(new, unit=unit), "casfs") == expected


def test_a_difference_of_a_thousandth_is_none():
    assert judge(make_figure([1000.0]), make_figure([1001.0]), "casfs") == ""


def test_foreign_load_makes_a_verdict_doubtful():
    assert judge(make_figure(SLOW), make_figure(FAST, loaded=(1,)), "casfs") == "better?"
    assert judge(make_figure(SLOW, loaded=(0,)), make_figure(FAST), "casfs") == "better?"


def test_medians_and_their_ratio_are_shown():
    text = compare(Run({}, (make_figure(SLOW),)), Run({}, (make_figure(FAST),)))
    assert "| add     | numpy  | casfs     | 11 s | 1.1 s | 0.1       | better  |" in text


def test_what_only_one_run_has_is_named():
    text = compare(Run({}, (make_figure(SLOW, "django"),)), Run({}, (make_figure(FAST, "numpy"),)))
    assert "- only in the old run: add, django, s" in text
    assert "- only in the new run: add, numpy, s" in text


def test_another_machine_or_version_is_named_but_another_date_is_not():
    text = compare(Run({"uv": "1", "date": "a", "cores": "2"}, ()), Run({"uv": "2", "date": "b", "cores": "2"}, ()))
    assert "- uv: 1; now 2" in text
    assert "date" not in text
    assert "cores" not in text


def run_script(*arguments: Path | str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, scripts.bench.compare.__file__, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


def test_the_script_runs_from_any_folder(tmp_path: Path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(format_run(Run({}, (make_figure(SLOW),))))
    new.write_text(format_run(Run({}, (make_figure(FAST),))))
    done = run_script(old, new)
    assert (done.returncode, done.stderr) == (0, "")
    assert "| better  |" in done.stdout


def test_a_file_that_is_no_run_is_named(tmp_path: Path):
    (tmp_path / "bad.json").write_text("{}")
    done = run_script(tmp_path / "bad.json", tmp_path / "absent.json")
    assert done.returncode == 2
    assert f"{tmp_path / 'bad.json'}: is not a result" in done.stderr

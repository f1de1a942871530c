from __future__ import annotations

import pytest

from scripts.bench.figures import Figure, Run
from scripts.bench.table import format_digits, format_markdown, format_table, format_value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (1, "1"),
        (3.14159, "3.14"),
        (0.0312345, "0.0312"),
        (0.00001234, "0.000012"),
        (99.96, "100"),
        (31415.9, "31,416"),
        (250, "250"),
    ],
)
def test_three_digits_are_shown(value: float, expected: str):
    assert format_digits(value) == expected


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (2.5, "s", "2.5 s"),
        (0.0321, "s", "32.1 ms"),
        (21e-6, "s", "21 us"),
        (600e-9, "s", "600 ns"),
        (0, "s", "0 ns"),
        (16384, "B", "16.4 kB"),
        (0, "B", "0 B"),
        (412e6, "B/s", "412 MB/s"),
        (2486, "inodes", "2,486 inodes"),
    ],
)
def test_a_value_gets_a_unit_of_handy_size(value: float, unit: str, expected: str):
    assert format_value(value, unit) == expected


def test_a_table_lines_up_and_a_bar_does_not_break_it():
    assert format_table(("A", "Bee"), [("one", "x|y")]) == "| A   | Bee  |\n|-----|------|\n| one | x\\|y |"


def make_run(**more: object) -> Run:
    values = {"casfs": [0.1, 0.2, 0.3], "pip": [1.0, 2.0, 3.0]}
    return Run({"kernel": "Linux 6"}, (Figure("add", "numpy", "s", "all is warm", values, **more),))  # type: ignore[arg-type]


def test_a_run_is_shown_with_machine_medians_spreads_ratios_and_conditions():
    text = format_markdown(make_run())
    assert "- kernel: Linux 6" in text
    assert "| numpy  | 3      | casfs     | 200 ms | 120 ms to 280 ms | 1     |" in text
    assert "|        | 3      | pip       | 2 s    | 1.2 s to 2.8 s   | 10    |" in text
    assert "- numpy: all is warm" in text
    assert "†" not in text


def test_rounds_under_foreign_load_are_marked_and_counted():
    text = format_markdown(make_run(loaded_rounds=(0, 2)))
    assert "| numpy †2 |" in text
    assert "† others used the processor" in text


def test_figures_without_ratios_have_none():
    assert "| 2 s    | 1.2 s to 2.8 s   |       |" in format_markdown(make_run(has_ratios=False))


def test_a_value_that_never_changes_has_no_spread():
    run = Run({}, (Figure("disk", "tenth", "B", "counted", {"casfs": [5.0], "pip": [10.0]}),))
    assert "| pip       | 10 B   |            | 2     |" in format_markdown(run)


def test_figures_share_the_line_of_their_conditions():
    figures = [Figure("add", what, "s", "all is warm", {"casfs": [1.0]}) for what in ("numpy", "django")]
    assert "- numpy; django: all is warm\n" in format_markdown(Run({}, tuple(figures)))


def test_a_failed_measure_is_told():
    assert "**Failed:** disk: no space" in format_markdown(Run({}, (), ("disk: no space",)))

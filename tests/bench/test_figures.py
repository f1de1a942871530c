from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.bench.figures import Figure, Run, Spread, build_spread, format_run, parse_run, quantile

VALUES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=20)


def make_figure(unit: str = "s", *, has_ratios: bool = True, loaded: tuple[int, ...] = (), **values: list[float]) -> Figure:
    return Figure("add", "numpy", unit, "all is warm", values or {"casfs": [1.0, 2.0], "pip": [4.0, 4.0]}, has_ratios, loaded)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([3.0], 0.9, 3.0),
        ([1.0, 3.0], 0.5, 2.0),
        ([5.0, 1.0, 3.0], 0.5, 3.0),
        ([0.0, 10.0], 0.1, 1.0),
        ([1.0, 2.0], 0.0, 1.0),
        ([1.0, 2.0], 1.0, 2.0),
    ],
)
def test_a_quantile_is_linear_between_two_values(values: list[float], share: float, expected: float):
    assert quantile(values, share) == pytest.approx(expected)


def test_no_values_have_no_quantile():
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


@given(VALUES)
def test_a_spread_lies_within_the_values_and_around_the_median(values: list[float]):
    spread = build_spread(values)
    assert min(values) <= spread.p10 <= spread.median <= spread.p90 <= max(values)


@given(VALUES)
def test_the_order_of_values_does_not_matter(values: list[float]):
    assert build_spread(values) == build_spread(values[::-1])


def test_spreads_that_touch_overlap():
    assert Spread(2, 1, 3).overlaps(Spread(4, 3, 5))
    assert not Spread(2, 1, 3).overlaps(Spread(5, 4, 6))
    assert not Spread(5, 4, 6).overlaps(Spread(2, 1, 3))


def test_a_ratio_is_taken_within_each_round():
    figure = make_figure(casfs=[1.0, 10.0, 100.0], pip=[3.0, 30.0, 300.0])
    assert figure.ratio("pip") == Spread(3.0, 3.0, 3.0)


def test_the_first_contender_is_the_reference():
    figure = make_figure()
    assert figure.reference == "casfs"
    assert figure.ratio("casfs") == Spread(1, 1, 1)


def test_there_is_no_ratio_to_nothing_and_none_where_it_makes_no_sense():
    assert make_figure(casfs=[0.0, 1.0], pip=[1.0, 1.0]).ratio("pip") is None
    assert make_figure(has_ratios=False).ratio("pip") is None


@pytest.mark.parametrize("values", [{"casfs": [1.0, 2.0], "pip": [1.0]}, {"casfs": []}, {}])
def test_a_contender_that_misses_a_round_is_refused(values: dict[str, list[float]]):
    with pytest.raises(ValueError, match="in every round"):
        Figure("add", "numpy", "s", "", values)


def test_ratios_are_those_of_the_rounds_that_both_have():
    figure = Figure("add", "x", "s", "", {"casfs": [1.0, 10.0, 100.0], "pip": [3.0, 500.0]}, taken={"pip": [0, 2]})
    assert figure.ratio("pip") == build_spread([3.0, 5.0])
    assert figure.ratio("casfs", "pip") == build_spread([1 / 3, 1 / 5])
    assert figure.rounds == 3


def test_there_is_no_ratio_of_contenders_that_never_met():
    assert Figure("add", "x", "s", "", {"a": [1.0], "b": [2.0]}, taken={"a": [0], "b": [1]}).ratio("b") is None


def test_a_contender_with_fewer_values_than_rounds_of_its_own_is_refused():
    with pytest.raises(ValueError, match="in which it took part"):
        Figure("add", "x", "s", "", {"casfs": [1.0, 1.0], "pip": [1.0]}, taken={"pip": [0, 1]})


def test_only_speed_is_better_when_it_is_higher():
    assert make_figure("B/s").is_higher_better
    assert not make_figure("s").is_higher_better
    assert not make_figure("B").is_higher_better


@given(st.dictionaries(st.text(), st.text()), st.lists(VALUES, max_size=3), st.lists(st.text()))
def test_a_run_comes_back_from_json_as_it_was(machine: dict[str, str], rounds: list[list[float]], failures: list[str]):
    run = Run(machine, tuple(make_figure(loaded=(0,), casfs=values) for values in rounds), tuple(failures))
    assert parse_run(format_run(run)) == run


def test_rounds_of_a_contender_come_back_from_json():
    run = Run({}, (Figure("add", "x", "s", "", {"casfs": [1.0, 1.0], "pip": [2.0]}, taken={"pip": [1]}),))
    assert parse_run(format_run(run)) == run


def test_a_run_that_was_written_before_there_were_rounds_of_contenders_is_read():
    data = json.loads(format_run(Run({}, (make_figure(),))))
    del data["figures"][0]["taken"]
    assert parse_run(json.dumps(data)) == Run({}, (make_figure(),))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 99}', json.dumps({"format": 1, "machine": {}, "figures": [{}], "failures": []})]
)
def test_what_is_no_run_is_refused(text: str):
    with pytest.raises(ValueError):
        parse_run(text)

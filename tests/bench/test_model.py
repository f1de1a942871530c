from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.bench.figures import Figure
from scripts.bench.measures.growth import with_model
from scripts.bench.model import fit_line, predict


def test_points_on_a_line_give_that_line():
    line = fit_line([1000, 10_000, 100_000], [2 + 3 * size for size in (1000, 10_000, 100_000)])
    assert line.at(10_000_000) == pytest.approx(30_000_002)


def test_small_points_count_as_much_as_large_ones():
    line = fit_line([1, 2, 1000], [10, 10, 11_000])
    assert line.at(1) < 15


def test_each_round_has_a_prediction_of_its_own():
    assert predict([10, 20], [[1.0, 1.1], [2.0, 2.2]], 100) == pytest.approx([10.0, 11.0])


def test_noise_is_not_taken_for_growth():
    assert predict([10, 20], [[1.0, 2.0], [1.1, 2.2]], 1_000_000) == [1.1, 2.2]


@given(st.lists(st.floats(0.001, 1e9), min_size=3, max_size=3))
def test_a_model_never_falls(values: list[float]):
    line = fit_line([1, 10, 100], values)
    assert line.at(10_000) >= line.at(100)


@pytest.mark.parametrize(("sizes", "values"), [([1], [1]), ([1, 1], [1, 2]), ([1, 2], [1]), ([1, 2], [0, 1])])
def test_what_makes_no_line_is_refused(sizes: list[float], values: list[float]):
    with pytest.raises(ValueError, match="two points"):
        fit_line(sizes, values)


def test_the_model_knows_the_rounds_in_which_all_sizes_had_their_turn():
    values = {"10 blobs": [1.0, 5.0, 1.1], "20 blobs": [2.0, 2.2]}
    figure = with_model(Figure("growth", "fsck, time", "s", "said", values, taken={"20 blobs": [0, 2]}), [10, 20])
    name = list(figure.values)[-1]
    assert figure.by_round(name) == pytest.approx({0: 1_000_000.0, 2: 1_100_000.0})
    assert "NOT measured" in figure.conditions

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casfs.fuse.operations import BUCKETS, new_histogram, percentile_ns, summarize

DURATIONS = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=50)


def count(durations_ns: list[int]) -> list[int]:
    histogram = new_histogram()
    for duration_ns in durations_ns:
        histogram[duration_ns.bit_length()] += 1
    return histogram


@given(DURATIONS, st.floats(0, 1))
def test_a_percentile_is_right_within_a_factor_of_two(durations_ns: list[int], share: float):
    exact = sorted(durations_ns)[max(1, math.ceil(share * len(durations_ns))) - 1]
    found = percentile_ns(count(durations_ns), share)
    assert exact / 2 <= found <= exact * 2


@given(DURATIONS)
def test_a_larger_share_never_takes_less_time(durations_ns: list[int]):
    histogram = count(durations_ns)
    times = [percentile_ns(histogram, share / 20) for share in range(21)]
    assert times == sorted(times)


def test_every_duration_of_63_bits_has_a_bucket():
    assert sum(count([0, 1, 2**63 - 1])) == 3
    assert len(new_histogram()) == BUCKETS


def test_without_requests_there_is_no_time():
    assert percentile_ns(new_histogram(), 0.5) == 0


@pytest.mark.parametrize(("durations_ns", "expected"), [([0], 0), ([1], 2), ([1024], 2048), ([1024] * 4, 1536), ([1, 1024, 1024], 1536)])
def test_a_percentile_lies_evenly_in_its_bucket(durations_ns: list[int], expected: float):
    assert percentile_ns(count(durations_ns), 0.5) == expected


def test_a_summary_tells_microseconds_by_kind():
    slow = count([3_000] * 98 + [3_000_000] * 2)
    assert summarize({"read": slow, "open": new_histogram()}) == {"read": [3.1, 3145.7], "open": [0.0, 0.0]}

"""Latency: how long requests took, counted in buckets that double, so that counting costs next to nothing.

Bucket n holds the durations of n bits, in nanoseconds: from 2**(n-1) to 2**n - 1. Within its bucket a duration's place is unknown, and a
percentile is interpolated as if they lay evenly there: it is never wrong by more than a factor of two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

BUCKETS = 64  # a longer time than 2**63 ns nobody waits


def new_histogram() -> list[int]:
    """Nothing was counted yet. `histogram[duration_ns.bit_length()] += 1` counts a duration."""
    return [0] * BUCKETS


def percentile_ns(histogram: Sequence[int], share: float) -> float:
    """The time within which `share` of all requests (0 to 1) were answered, in nanoseconds; 0 if there were none."""
    rank = max(1, math.ceil(share * sum(histogram)))
    below = 0
    for bits, count in enumerate(histogram):
        if below + count >= rank:
            lowest, width = (1 << bits - 1, 1 << bits - 1) if bits else (0, 0)
            return lowest + width * (rank - below) / count
        below += count
    return 0.0


def summarize(histograms: Mapping[str, Sequence[int]]) -> dict[str, list[float]]:
    """Kind of request -> [p50, p99] in microseconds."""
    return {kind: [round(percentile_ns(one, share) / 1000, 1) for share in (0.5, 0.99)] for kind, one in histograms.items()}

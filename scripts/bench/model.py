"""A model of growth: a line through measured points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scripts.bench.figures import build_spread


@dataclass(frozen=True, slots=True)
class Line:
    """So much at the start, and so much for each one."""

    start: float
    slope: float

    def at(self, size: float) -> float:
        return self.start + self.slope * size


def predict(sizes: Sequence[float], values: Sequence[Sequence[float]], target: float) -> list[float]:
    """By round, given the rounds' values for each size in rising order: what a line says, or the last one's if there is no clear growth."""
    if build_spread(values[0]).overlaps(build_spread(values[-1])):
        return list(values[-1])
    return [fit_line(sizes, points).at(target) for points in zip(*values, strict=True)]


def fit_line(sizes: Sequence[float], values: Sequence[float]) -> Line:
    """Least squares of relative errors: points of sizes far apart count alike. It never falls. Raises ValueError."""
    if len(sizes) != len(values) or len(set(sizes)) < 2 or min(values) <= 0:
        raise ValueError("a line needs two points of different sizes, and values above nothing")
    weights = [1 / value**2 for value in values]
    total = sum(weights)
    size, value = (sum(w * x for w, x in zip(weights, xs, strict=True)) / total for xs in (sizes, values))
    above = sum(w * (x - size) * (y - value) for w, x, y in zip(weights, sizes, values, strict=True))
    slope = max(0.0, above / sum(w * (x - size) ** 2 for w, x in zip(weights, sizes, strict=True)))
    return Line(value - slope * size, slope)

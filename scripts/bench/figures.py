"""Figures: values by contender and round, their medians and spreads, ratios within rounds; and a whole run as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = 1
"""Of the JSON file. compare.py refuses another."""

_HIGHER_IS_BETTER = frozenset({"B/s"})


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, and where the middle four fifths of the values lie."""

    median: float
    p10: float
    p90: float

    def overlaps(self, other: Spread) -> bool:
        return self.p10 <= other.p90 and other.p10 <= self.p90


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie; linear between two of them. Raises ValueError if there is none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def build_spread(values: Sequence[float]) -> Spread:
    """Median, p10 and p90."""
    return Spread(quantile(values, 0.5), quantile(values, 0.1), quantile(values, 0.9))


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, for each contender once in each round in which it took part.

    `unit` is s, B, B/s or a plain noun; `conditions` says what the value includes and what was in which cache.
    """

    measure: str
    what: str
    unit: str
    conditions: str
    values: Mapping[str, Sequence[float]]
    """By contender. The first is the one that ratios refer to."""
    has_ratios: bool = True
    loaded_rounds: tuple[int, ...] = ()
    """Rounds in which others used the processor."""
    taken: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """The rounds of contenders that did not take part in all of them."""

    def __post_init__(self) -> None:
        whole = {len(values) for name, values in self.values.items() if name not in self.taken}
        if len(whole) > 1 or not self.values or not all(self.values.values()):
            raise ValueError(f"{self.measure}, {self.what}: every contender needs a value in every round")
        if any(len(self.values[name]) != len(set(rounds)) for name, rounds in self.taken.items()):
            raise ValueError(f"{self.measure}, {self.what}: a contender needs a value in each round in which it took part")

    @property
    def reference(self) -> str:
        """The contender that ratios refer to."""
        return next(iter(self.values))

    @property
    def rounds(self) -> int:
        """Of the contender that took part in most."""
        return max(map(len, self.values.values()))

    def by_round(self, contender: str) -> dict[int, float]:
        """A contender's value in each round in which it took part."""
        values = self.values[contender]
        return dict(zip(self.taken.get(contender, range(len(values))), values, strict=True))

    @property
    def is_higher_better(self) -> bool:
        return self.unit in _HIGHER_IS_BETTER

    def spread(self, contender: str) -> Spread:
        return build_spread(self.values[contender])

    def ratio(self, contender: str, reference: str = "") -> Spread | None:
        """Spread of the ratios to a reference within each round that both have; None where there is nothing to compare with."""
        base, values = self.by_round(reference or self.reference), self.by_round(contender)
        common = [number for number in values if number in base]
        if not self.has_ratios or not common or not all(base.values()):
            return None
        return build_spread([values[number] / base[number] for number in common])


@dataclass(frozen=True, slots=True)
class Run:
    """All that one run of the benchmark found, and where."""

    machine: Mapping[str, str]
    figures: tuple[Figure, ...]
    failures: tuple[str, ...] = ()


def format_run(run: Run) -> str:
    """JSON, indented so that differences can be read."""
    return json.dumps({"format": FORMAT, **asdict(run)}, indent=1, ensure_ascii=False) + "\n"


def parse_run(text: str) -> Run:
    """The run in a JSON file. Raises ValueError."""
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            raise ValueError(f"is of format {data['format']}, not {FORMAT}")
        return Run(dict(data["machine"]), tuple(map(_parse_figure, data["figures"])), tuple(data["failures"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"is not a result of the benchmark: {error!r}") from None


def _parse_figure(data: dict[str, Any]) -> Figure:
    return Figure(**{**data, "loaded_rounds": tuple(data["loaded_rounds"])})

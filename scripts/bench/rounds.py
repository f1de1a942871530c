"""Rounds: contenders take turns, and what each round found becomes figures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scripts.bench.figures import Figure
from scripts.bench.load import is_loaded, read_times

Turn = Callable[[int], Mapping[str, float]]
"""One contender's turn in round N: prepares, measures, tidies up, and returns values by metric."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """What the contenders found: values by metric, contender and round."""

    values: Mapping[str, Mapping[str, list[float]]]
    loaded: tuple[int, ...]

    def figure(self, measure: str, metric: str, what: str, unit: str, conditions: str) -> Figure:
        """One metric, for the contenders that have it. Foreign load changes times, but neither sizes nor counts."""
        loaded = self.loaded if unit in ("s", "B/s") else ()
        return Figure(measure, what, unit, conditions, self.values[metric], loaded_rounds=loaded)


@dataclass(frozen=True, slots=True)
class Pace:
    """How many rounds: `most` where the time that a measure allows for them suffices, and never less than `least`."""

    most: int
    least: int
    share: float = 1.0
    """Of the time that a measure allows."""


def take_turns(pace: Pace, turns: Mapping[str, Turn], allowed_s: float = math.inf) -> Rounds:
    """Run rounds of all contenders, forth and back: A B C, C B A. So none always follows the same one, whose traces it finds.

    A round is begun only if it is likely to end within `allowed_s`, or if there were too few.
    """
    values: dict[str, dict[str, list[float]]] = {}
    loaded = []
    began = time.monotonic()
    for number in range(pace.most):
        used = time.monotonic() - began
        if number >= pace.least and used * (number + 1) / number > allowed_s * pace.share:
            break
        before = read_times()
        for contender in list(turns)[:: -1 if number % 2 else 1]:
            for metric, value in turns[contender](number).items():
                values.setdefault(metric, {}).setdefault(contender, []).append(value)
        if is_loaded(before, read_times()):
            loaded.append(number)
    return Rounds(values, tuple(loaded))

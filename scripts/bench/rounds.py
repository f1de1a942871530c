"""Rounds: contenders take turns, and what each round found becomes figures."""

from __future__ import annotations

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


def take_turns(count: int, turns: Mapping[str, Turn]) -> Rounds:
    """Run `count` rounds of all contenders, forth and back: A B C, C B A. So none always follows the same one, whose traces it finds."""
    values: dict[str, dict[str, list[float]]] = {}
    loaded = []
    for number in range(count):
        before = read_times()
        for contender in list(turns)[:: -1 if number % 2 else 1]:
            for metric, value in turns[contender](number).items():
                values.setdefault(metric, {}).setdefault(contender, []).append(value)
        if is_loaded(before, read_times()):
            loaded.append(number)
    return Rounds(values, tuple(loaded))

"""Rounds: contenders take turns, and what each round found becomes figures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from scripts.bench.figures import Figure
from scripts.bench.load import is_loaded, read_times

Turn = Callable[[int], Mapping[str, float]]
"""One contender's turn in round N: prepares, measures, tidies up, and returns values by metric."""

_HUGE = 1 / 3
"""Of the time that a measure allows: who needs more than this for one turn has that one only."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """What the contenders found: values by metric, contender and round."""

    values: Mapping[str, Mapping[str, list[float]]]
    loaded: tuple[int, ...]
    taken: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """The rounds of contenders that did not take part in all of them."""

    def figure(self, measure: str, metric: str, what: str, unit: str, conditions: str, *, names: Sequence[str] = ()) -> Figure:
        """One metric, for some contenders, or all that have it. Foreign load changes times, but neither sizes nor counts."""
        loaded = self.loaded if unit in ("s", "B/s") else ()
        values = {name: self.values[metric][name] for name in names or self.values[metric]}
        taken = {name: rounds for name, rounds in self.taken.items() if name in values}
        return Figure(measure, what, unit, conditions, values, loaded_rounds=loaded, taken=taken)


@dataclass(frozen=True, slots=True)
class Pace:
    """How many rounds: `most` where the time that a measure allows for them suffices, and hardly ever less than `least`."""

    most: int
    least: int
    share: float = 1.0
    """Of the time that a measure allows."""


def take_turns(pace: Pace, turns: Mapping[str, Turn], allowed_s: float = math.inf, *, now: Callable[[], float] = time.monotonic) -> Rounds:
    """Run rounds of all contenders, forth and back: A B C, C B A. So none always follows the same one, whose traces it finds.

    After the first round it is known who is dear; if the time does not suffice, these sit out some of the others (see `plan_rounds`).
    """
    values: dict[str, dict[str, list[float]]] = {}
    loaded = []

    def take_round(number: int, names: Sequence[str]) -> dict[str, float]:
        before, costs = read_times(), {}
        for contender in names[:: -1 if number % 2 else 1]:
            began = now()
            for metric, value in turns[contender](number).items():
                values.setdefault(metric, {}).setdefault(contender, []).append(value)
            costs[contender] = now() - began
        if is_loaded(before, read_times()):
            loaded.append(number)
        return costs

    plan = plan_rounds(pace, take_round(0, list(turns)), allowed_s)
    whole = max(map(len, plan.values()))
    for number in range(1, whole):
        take_round(number, [name for name in turns if number in plan[name]])
    return Rounds(values, tuple(loaded), {name: rounds for name, rounds in plan.items() if len(rounds) < whole})


def plan_rounds(pace: Pace, costs: Mapping[str, float], allowed_s: float) -> dict[str, Sequence[int]]:
    """The rounds of each contender, given what a turn takes, in seconds. All begin with the first one.

    The dearest give way until the time suffices or all have come down to the least. The reference, which is the first contender, is
    there whenever another one is.
    """
    allowed_s *= pace.share
    reference = next(iter(costs))
    others = list(costs)[1:] or [reference]
    counts = dict.fromkeys(costs, pace.most)
    if pace.least < pace.most and len(costs) > 1:
        counts |= {name: 1 for name in others if costs[name] > allowed_s * _HUGE}
    while True:
        counts[reference] = max(counts[name] for name in others)
        reducible = [name for name in others if counts[name] > pace.least]
        if not reducible or sum(costs[name] * counts[name] for name in costs) <= allowed_s:
            break
        counts[max(reducible, key=lambda name: costs[name] * counts[name])] -= 1
    whole = max(counts.values())
    return {name: _spread_out(count, whole) for name, count in counts.items()}


def _spread_out(count: int, whole: int) -> Sequence[int]:
    """So many rounds of all, as far from each other as they can be."""
    return [number * (whole - 1) // max(1, count - 1) for number in range(count)]

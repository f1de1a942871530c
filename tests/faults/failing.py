"""One run for each system call that fails: which runs there are, and what must be true after each."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.faults.collecting import Collecting
from tests.faults.commands import check_names_a_file
from tests.faults.scene import Scene
from tests.faults.strace import Call, calls_on, inject

_NAMED = ("ENOSPC", "EDQUOT", "ENOLCK")
"""Errors that are a file system's: a user wants to know which."""

Point = tuple[Call, str]
"""A call and the error with which it fails."""


_ATTEMPTS = 3
"""So often a command is started anew whose injection came to no call about the store."""


@dataclass(frozen=True, slots=True)
class Failing:
    """The calls of one command, and the errors with which each kind of them may fail."""

    scene: Scene | Collecting
    directory: Path
    calls: list[Call]
    errors: Mapping[str, Sequence[str]]

    def all_points(self) -> Iterator[Point]:
        for call in self.calls:
            for error in self.errors[call.kind]:
                yield call, error

    def fail_at(self, number: int, point: Point) -> bool:
        """One command in which one call fails, and all that must be true afterwards. Whether it had to give up."""
        call, error = point
        for attempt in range(_ATTEMPTS):
            store = self.scene.copy(self.directory / f"{number}.{attempt}")
            if done := inject(self.scene, store, call, f"error={error}", self.directory / f"{number}.log"):
                break
            shutil.rmtree(store)
        else:
            return False
        try:
            self.scene.check_interrupted(store, done)
            if done.code and error in _NAMED:
                check_names_a_file(done)
        except BaseException as problem:
            problem.add_note(f"{error} at {call.text}\n{done}")
            raise
        shutil.rmtree(store)
        return done.code != 0

    def fail_at_each(self, points: Iterable[Point]) -> list[bool]:
        """The same for each of these points."""
        with ThreadPoolExecutor(2) as two:
            return list(two.map(lambda numbered: self.fail_at(*numbered), enumerate(points)))


def find_failing(scene: Scene | Collecting, directory: Path, errors: Mapping[str, Sequence[str]]) -> Failing:
    """The calls of these kinds in an undisturbed command."""
    calls = calls_on(scene, scene.copy(directory / "count"), list(errors), directory / "count.log")
    return Failing(scene, directory, calls, errors)


def sample(points: Iterable[Point], every: int, alike: Callable[[Point], tuple[str, ...]]) -> Iterator[Point]:
    """Of the points that are alike the first one, the last one, and each so many between them; always the same ones."""
    ordered = sorted(points, key=lambda point: (alike(point), point[0].count))
    for _, group in itertools.groupby(ordered, alike):
        found = list(group)
        yield from found[:-1:every]
        yield found[-1]

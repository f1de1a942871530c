"""The Nth system call of `casfs collect` fails, as on a failing disk, a full one, one that is read-only, or at a limit."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.collecting import Collecting
from tests.faults.strace import Call, calls_on, inject

ERRORS = {
    "openat": ("EIO", "EACCES", "EMFILE", "ENOSPC"),
    "newfstatat": ("EIO", "EACCES"),
    "getdents64": ("EIO", "ENOMEM"),
    "readlink": ("EIO",),
    "flock": ("ENOLCK",),
    "mkdir": ("EIO", "ENOSPC", "EROFS"),
    "unlink": ("EIO", "EACCES", "EROFS"),
    "unlinkat": ("EIO", "EACCES", "EROFS"),
    "rename": ("EIO", "ENOSPC", "EROFS"),
    "renameat": ("EIO", "ENOSPC", "EROFS"),
    "rmdir": ("EIO",),
    "syncfs": ("EIO", "ENOSPC"),
}

Point = tuple[Call, str]

EVERY = 1000
"""In the ordinary run the first call of a kind fails, the last one, and each 1000th between them."""


def all_points(calls: Iterable[Call]) -> Iterator[Point]:
    for call in calls:
        for error in ERRORS[call.kind]:
            yield call, error


def sample(points: Iterable[Point]) -> Iterator[Point]:
    """Some points of each kind of call, with one error after the other; always the same ones."""
    ordered = sorted(points, key=lambda point: (point[0].kind, point[0].count))
    for _, group in itertools.groupby(ordered, lambda point: point[0].kind):
        alike = list(group)
        yield from alike[:-1:EVERY]
        yield alike[-1]


def fail_at(collecting: Collecting, directory: Path, number: int, point: Point) -> bool:
    """One collection in which one call fails, and all that must be true afterwards. Whether it had to give up."""
    call, error = point
    store = collecting.copy(directory / str(number))
    done = inject(collecting, store, call, f"error={error}", directory / f"{number}.log")
    try:
        collecting.check_interrupted(store, done)
    except BaseException as problem:
        problem.add_note(f"{error} at {call.text}\n{done}")
        raise
    shutil.rmtree(store)
    return done.code != 0


def fail_at_each(collecting: Collecting, directory: Path, points: Iterable[Point]) -> list[bool]:
    with ThreadPoolExecutor(2) as two:
        return list(two.map(lambda numbered: fail_at(collecting, directory, *numbered), enumerate(points)))


@pytest.fixture
def calls(collecting: Collecting, workspace: Path) -> list[Call]:
    return calls_on(collecting, collecting.copy(workspace / "count"), list(ERRORS), workspace / "count.log")


def test_collection_in_which_a_call_fails_loses_nothing_and_can_be_ended(collecting: Collecting, calls: list[Call], workspace: Path):
    assert len(calls) > 300
    gave_up = fail_at_each(collecting, workspace, sample(all_points(calls)))
    assert sum(gave_up) > 5


@pytest.mark.long
def test_collection_in_which_any_call_fails_loses_nothing_and_can_be_ended(collecting: Collecting, calls: list[Call], workspace: Path):
    assert sum(fail_at_each(collecting, workspace, all_points(calls))) > 500


@pytest.mark.parametrize("kind", ["unlinkat", "renameat", "syncfs"])
def test_collection_that_can_not_remove_says_so(collecting: Collecting, calls: list[Call], workspace: Path, kind: str):
    first = next(call for call in calls if call.kind == kind)
    assert fail_at(collecting, workspace, 0, (first, ERRORS[kind][0]))

"""The Nth system call of `casfs add` fails, as on a failing disk, a full one, or at a limit."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.scene import Scene
from tests.faults.strace import Call, calls_on, inject

ERRORS = {
    "openat": ("EIO", "ENOSPC", "EMFILE", "EINTR"),
    "read": ("EIO", "EINTR"),
    "pread64": ("EIO", "EINTR"),
    "write": ("EIO", "ENOSPC", "EINTR"),
    "close": ("EIO",),
    "newfstatat": ("EIO",),
    "fstat": ("EIO",),
    "lstat": ("EIO",),
    "stat": ("EIO",),
    "lseek": ("EIO",),
    "getdents64": ("EIO", "ENOMEM"),
    "readlink": ("EIO",),
    "flock": ("ENOLCK", "EINTR"),
    "fchmod": ("EIO", "EPERM"),
    "mkdir": ("EIO", "ENOSPC", "EMLINK"),
    "symlink": ("EIO", "ENOSPC"),
    "link": ("EIO", "ENOSPC", "EMLINK", "EPERM"),
    "rename": ("EIO", "ENOSPC", "EINTR"),
    "syncfs": ("EIO", "ENOSPC", "EDQUOT", "EINTR"),
    "unlink": ("EIO",),
    "unlinkat": ("EIO",),
    "rmdir": ("EIO",),
}

Point = tuple[Call, str]

EVERY = 40
"""In the ordinary run the first call of a kind fails, the last one, and each 40th between them."""


def all_points(calls: Iterable[Call]) -> Iterator[Point]:
    for call in calls:
        for error in ERRORS[call.kind]:
            yield call, error


def sample(points: Iterable[Point]) -> Iterator[Point]:
    """Some points of each kind of call with each error, always the same ones."""
    ordered = sorted(points, key=lambda point: (point[0].kind, point[1], point[0].count))
    for _, group in itertools.groupby(ordered, lambda point: (point[0].kind, point[1])):
        alike = list(group)
        yield from alike[:-1:EVERY]
        yield alike[-1]


def fail_at(scene: Scene, directory: Path, number: int, point: Point) -> None:
    """One add in which one call fails, and all that must be true afterwards."""
    call, error = point
    store = scene.copy(directory / str(number))
    done = inject(scene, store, call, f"error={error}", directory / f"{number}.log")
    try:
        scene.check_interrupted(store, done)
    except BaseException as problem:
        problem.add_note(f"{error} at {call.text}\n{done}")
        raise
    shutil.rmtree(store)


def fail_at_each(scene: Scene, directory: Path, points: Iterable[Point]) -> int:
    with ThreadPoolExecutor(2) as two:
        return len(list(two.map(lambda numbered: fail_at(scene, directory, *numbered), enumerate(points))))


@pytest.fixture
def upgrade_calls(upgrade: Scene, workspace: Path) -> list[Call]:
    return calls_on(upgrade, upgrade.copy(workspace / "count"), list(ERRORS), workspace / "count.log")


@pytest.fixture
def first_calls(first: Scene, workspace: Path) -> list[Call]:
    return calls_on(first, first.copy(workspace / "count"), list(ERRORS), workspace / "count.log")


def test_add_in_which_a_call_fails_leaves_the_old_or_the_new_state(upgrade: Scene, upgrade_calls: list[Call], workspace: Path):
    assert len(upgrade_calls) > 300
    assert fail_at_each(upgrade, workspace, sample(all_points(upgrade_calls))) > 90


@pytest.mark.long
def test_add_in_which_any_call_fails_leaves_the_old_or_the_new_state(upgrade: Scene, upgrade_calls: list[Call], workspace: Path):
    assert fail_at_each(upgrade, workspace, all_points(upgrade_calls)) > 600


@pytest.mark.long
def test_first_add_in_which_any_call_fails_can_be_repeated(first: Scene, first_calls: list[Call], workspace: Path):
    assert fail_at_each(first, workspace, all_points(first_calls)) > 300

"""The Nth system call of `casfs collect` fails, as on a failing disk, a full one, one that is read-only, or at a limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.collecting import Collecting
from tests.faults.failing import Failing, find_failing, sample

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

EVERY = 1000
"""In the ordinary run the first call of a kind fails, the last one, and each 1000th between them, with one error after the other."""


@pytest.fixture
def failing(collecting: Collecting, workspace: Path) -> Failing:
    return find_failing(collecting, workspace, ERRORS)


def test_collection_in_which_a_call_fails_loses_nothing_and_can_be_ended(failing: Failing):
    assert len(failing.calls) > 300
    gave_up = failing.fail_at_each(sample(failing.all_points(), EVERY, lambda point: (point[0].kind,)))
    assert sum(gave_up) > 5


@pytest.mark.long
def test_collection_in_which_any_call_fails_loses_nothing_and_can_be_ended(failing: Failing):
    assert sum(failing.fail_at_each(failing.all_points())) > 500


@pytest.mark.parametrize("kind", ["unlinkat", "syncfs"])
def test_collection_that_can_not_remove_says_so(failing: Failing, kind: str):
    first = next(call for call in failing.calls if call.kind == kind)
    assert failing.fail_at(0, (first, ERRORS[kind][0]))

"""The Nth system call of `casfs add` fails, as on a failing disk, a full one, or at a limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.failing import Failing, find_failing, sample
from tests.faults.scene import Scene

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

EVERY = 40
"""In the ordinary run the first call of a kind fails, the last one, and each 40th between them, with each error."""


@pytest.fixture
def failing_upgrade(upgrade: Scene, workspace: Path) -> Failing:
    return find_failing(upgrade, workspace, ERRORS)


@pytest.fixture
def failing_first(first: Scene, workspace: Path) -> Failing:
    return find_failing(first, workspace, ERRORS)


def test_add_in_which_a_call_fails_leaves_the_old_or_the_new_state(failing_upgrade: Failing):
    assert len(failing_upgrade.calls) > 300
    points = sample(failing_upgrade.all_points(), EVERY, lambda point: (point[0].kind, point[1]))
    assert len(failing_upgrade.fail_at_each(points)) > 90


@pytest.mark.long
def test_add_in_which_any_call_fails_leaves_the_old_or_the_new_state(failing_upgrade: Failing):
    assert len(failing_upgrade.fail_at_each(failing_upgrade.all_points())) > 600


@pytest.mark.long
def test_first_add_in_which_any_call_fails_can_be_repeated(failing_first: Failing):
    assert len(failing_first.fail_at_each(failing_first.all_points())) > 300

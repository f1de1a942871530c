"""What all tests share: how hypothesis behaves, and which tests run in one process."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: a machine that is busy with other work is no bug of ours.
settings.register_profile("casfs", deadline=None, print_blob=True)
settings.load_profile("casfs")

_TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, those of a group stay in one process."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item.path)))


def _group(path: Path) -> str:
    """The tests of a file stay together for its fixtures, those of real/ for their environments.

    A new mount namespace copies every mount, and keeps what is unmounted elsewhere alive: a disk whose power is cut, a daemon that is to
    end. So tests that make namespaces and tests that wait for such an end take turns.
    """
    folder = path.relative_to(_TESTS).parts[0]
    if folder in {"fuse", "faults"} or path == _TESTS / "real/test_run.py":
        return "mounts"
    return folder if folder == "real" else str(path)
